"""Progressive bit search: the few packed weights whose flips hurt most, found through the net's gradients."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bnn_tasks.binary import BinaryConv2d, BinaryLinear, WeightBinarizer
from bnn_tasks.binary.weights import Basis
from bnn_tasks.robustness.objective import Objective
from bnn_tasks.tasks.robustness.bit_flips import Bit, PackedBits


class FlippedWeight(WeightBinarizer):
    """The binarised weight of a layer, held fixed, some of whose bits are negated.

    Args:
        inner: the layer's binariser.
        weight: the layer's latent weight.

    Attributes:
        effective: W̃ = Σ_i α_i·B_i with its flips, a leaf whose gradient can be asked for.
        taken: for each basis, which bits are flipped.
    """

    def __init__(self, inner: WeightBinarizer, weight: Tensor) -> None:
        super().__init__()
        with torch.no_grad():
            self._bases = [Basis(_copy(basis.signs), basis.scale) for basis in inner.bases(weight.detach())]
        self.taken = [torch.zeros_like(basis.signs, dtype=torch.bool) for basis in self._bases]
        self.effective = self._sum()

    def _summands(self) -> list[Tensor]:
        return [
            basis.signs if basis.scale is None else basis.signs * basis.scale.view(-1, *[1] * (basis.signs.dim() - 1))
            for basis in self._bases
        ]

    def _sum(self) -> Tensor:
        return torch.stack(self._summands()).sum(0).detach().requires_grad_()

    def forward(self, weight: Tensor) -> Tensor:
        """``effective``, whatever the latent weight."""
        return self.effective

    def bases(self, weight: Tensor) -> list[Basis]:
        """The summands with their flips, whatever the latent weight."""
        return [Basis(_copy(basis.signs), basis.scale) for basis in self._bases]

    def flip(self, basis: int, index: int) -> None:
        """Negate a bit; a second time, put it back.

        Args:
            basis: i.
            index: into the flattened B_i.
        """
        with torch.no_grad():
            self._bases[basis].signs.view(-1)[index] *= -1
            self.taken[basis].view(-1)[index] ^= True
        self.effective = self._sum()

    def rises(self, gradient: Tensor) -> list[Tensor]:
        """What each bit's flip adds to the loss, to first order: -2·α_i·B_i·dL/dW̃, -inf for bits that are flipped already.

        Args:
            gradient: dL/dW̃.
        """
        return [
            (-2 * summand * gradient).masked_fill(taken, -torch.inf).detach()
            for summand, taken in zip(self._summands(), self.taken, strict=True)
        ]


def _copy(signs: Tensor) -> Tensor:
    """A copy whose order in memory is the artifact's, whatever the net's: indices count along it."""
    return signs.clone(memory_format=torch.contiguous_format)


@contextmanager
def flippable(net: nn.Module) -> Iterator[dict[str, FlippedWeight]]:
    """While open, the binary layers of `net` compute with weights whose bits can be flipped; then it is as before.

    Args:
        net: in eval mode, its training finished.

    Yields:
        The layers' names in the net, and their weights.

    Raises:
        ValueError: there is no binary layer, or one is not binary yet; names it.
    """
    layers = {name: layer for name, layer in net.named_modules() if isinstance(layer, BinaryConv2d | BinaryLinear)}
    if not layers:
        raise ValueError(f"Expected a net with binary layers, but {type(net).__name__} has none.")
    for name, layer in layers.items():
        if not layer.ready:
            raise ValueError(
                f"Expected binary weights and activations, but layer {name!r} is not binary yet. "
                f"Cure: {layer.weight_binarizer.cure}."
            )
    inner = {name: layer.weight_binarizer for name, layer in layers.items()}
    try:
        weights = {name: FlippedWeight(inner[name], layer.weight) for name, layer in layers.items()}
        for name, layer in layers.items():
            layer.weight_binarizer = weights[name]
        yield weights
    finally:
        for name, layer in layers.items():
            layer.weight_binarizer = inner[name]


def _tensor(layer: str, basis: int, bases: int) -> str:
    """The artifact's name of a layer's basis."""
    return f"{layer}.weight" if bases == 1 else f"{layer}.basis{basis}"


@dataclass(frozen=True)
class FoundBits:
    """What a search found.

    Attributes:
        bits: in the order in which they are flipped.
        losses: the mean objective before the first flip and after each.
    """

    bits: list[Bit]
    losses: list[float]


class ProgressiveBitSearch:
    """Flip, one after another, the bit that raises the loss most.

    Rakin, He and Fan, Bit-Flip Attack: Crushing Neural Network with Progressive Bit Search, ICCV 2019, for weights of one
    bit: to flip w moves the loss by -2·w·dL/dw to first order. In every step the best bit of each layer (and basis) is looked
    up in one backward pass, the most promising of them are tried in a forward pass each, and the one with the highest loss
    stays flipped. No bit is flipped twice.

    Args:
        candidates: bits tried in a step, >= 1; the paper tries one of every layer.

    Raises:
        ValueError: `candidates` is below 1.
    """

    def __init__(self, candidates: int = 10) -> None:
        if candidates < 1:
            raise ValueError(f"Expected `candidates` to be >= 1, but got {candidates}.")
        self.candidates = candidates

    def __call__(
        self, net: nn.Module, packed: PackedBits, objective: Objective, images: Tensor, flips: int
    ) -> FoundBits:
        """Search; the net is as before afterwards.

        Args:
            net: what the artifact was exported from, in eval mode.
            packed: the artifact.
            objective: whose model is `net`; its mean over the images is raised.
            images: (B, C, H, W) in [0, 1], the attacker's sample.
            flips: how many bits, 0 to ``packed.total``.

        Raises:
            ValueError: `flips` is out of range or more than the loss depends on, or the artifact holds other weights than the
                net; names the layer.
        """
        if not 0 <= flips <= packed.total:
            raise ValueError(f"{packed.path}: Expected `flips` to be in [0, {packed.total}], but got {flips}.")
        bits: list[Bit] = []
        with flippable(net) as weights:
            _check_same(weights, packed)
            losses = [_loss(objective, images)]
            for _ in range(flips):
                tried = []
                for layer, basis, index in self._promising(weights, objective, images):
                    weights[layer].flip(basis, index)
                    tried.append((_loss(objective, images), layer, basis, index))
                    weights[layer].flip(basis, index)
                if not tried:
                    raise ValueError(f"Expected {flips} bits that the loss depends on, but there are only {len(bits)}.")
                loss, layer, basis, index = max(tried)
                weights[layer].flip(basis, index)
                losses.append(loss)
                tensor = _tensor(layer, basis, len(weights[layer].taken))
                bits.append(Bit(tensor, *divmod(index, packed.shapes[tensor][1])))
        return FoundBits(bits, losses)

    def _promising(
        self, weights: dict[str, FlippedWeight], objective: Objective, images: Tensor
    ) -> list[tuple[str, int, int]]:
        """(layer, basis, index) of the best bits, one of a basis at most."""
        with torch.enable_grad():
            loss = objective(images).mean()
            gradients = torch.autograd.grad(loss, [weight.effective for weight in weights.values()], allow_unused=True)
        best = []
        for (layer, weight), gradient in zip(weights.items(), gradients, strict=True):
            for basis, rises in enumerate([] if gradient is None else weight.rises(gradient)):
                rise, index = rises.flatten().max(0)
                if torch.isfinite(rise):
                    best.append((float(rise), layer, basis, int(index)))
        return [(layer, basis, index) for _, layer, basis, index in sorted(best, reverse=True)[: self.candidates]]


def _loss(objective: Objective, images: Tensor) -> float:
    with torch.no_grad():
        return float(objective(images).mean())


def check_exported(net: nn.Module, packed: PackedBits) -> None:
    """Raise ValueError unless an artifact's 1-bit weights are those of a net.

    Args:
        net: in eval mode.
        packed: the artifact.
    """
    with flippable(net) as weights:
        _check_same(weights, packed)


def _check_same(weights: dict[str, FlippedWeight], packed: PackedBits) -> None:
    for layer, weight in weights.items():
        bases = weight.bases(weight.effective)
        for index, basis in enumerate(bases):
            tensor = _tensor(layer, index, len(bases))
            signs = basis.signs.flatten(1).cpu().numpy()
            if tensor not in packed.shapes or not np.array_equal(packed.signs(tensor), signs):
                raise ValueError(
                    f"{packed.path}: Expected the weights of layer {layer!r} in {tensor!r}, but they are missing or others. "
                    "Cure: export this net again."
                )
