"""Prove that an artifact computes what the module computes, bit by bit.

The module is run with the *runtime's* bits forced into every binary layer. Then torch and runtime see the same bits
everywhere, so their real values differ by rounding alone, and where a sign still differs the value must be a tie:
abs(x - threshold) <= 1e-5 · std(x). Accumulators have no excuse: they must be identical.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn_tasks.binary import BinaryConv2d, BinaryLinear
from bnn_tasks.export.builder import ExportError
from bnn_tasks.export.trace import SignSite
from bnn_tasks.runtime import Session

TIE = 1e-5  # of the standard deviation of the layer's input


class ParityError(ExportError):
    """The artifact does not compute what the module computes; the message names the layer."""


@dataclass(frozen=True)
class Parity:
    """What the comparison found.

    Attributes:
        images: how many were compared.
        bits: activation bits compared.
        ties: bits that differ, every one a rounding tie.
        accumulators: integer sums compared; all were identical.
        output_error: largest abs(torch - runtime) of the raw outputs, given the same bits, over their standard deviation.
    """

    images: int
    bits: int
    ties: int
    accumulators: int
    output_error: float


def _flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in _flat(value[key])]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in _flat(item)]
    return [value]


def _spread(x: Tensor) -> float:
    return float(x.std()) if x.numel() > 1 else 0.0


def _output_error(want: Tensor, got: Tensor) -> float:
    if want.shape != got.shape:
        raise ParityError(
            f"Expected a raw output of shape {tuple(want.shape)}, but the runtime's is {tuple(got.shape)}."
        )
    error = float((want - got).abs().max()) / max(_spread(want), 1e-6)
    if not error <= 1e-3:  # NaN and inf included
        raise ParityError(
            f"Expected finite raw outputs equal to torch's but for rounding, but they differ by {error:.3g} std."
        )
    return error


def _threshold(layer: BinaryConv2d | BinaryLinear, x: Tensor) -> Tensor:
    theta = layer.terms().terms[0].activation.threshold
    return torch.zeros(()) if theta is None else theta.view(-1, *[1] * (x.dim() - 2))


class Forcing:
    """Hooks that put the runtime's bits into a module's binary layers and compare as they go.

    Attributes:
        bits: activation bits compared so far.
        ties: those that differ, every one a rounding tie.
        accumulators: integer sums compared so far.
    """

    def __init__(self, module: nn.Module, sites: list[SignSite], session: Session) -> None:
        self.session = session
        self.queues: dict[str, list[SignSite]] = defaultdict(list)
        for site in sites:
            self.queues[site.layer].append(site)
        self.values: dict[str, np.ndarray] = {}
        self.calls: dict[str, int] = {}
        self.bits = self.ties = self.accumulators = 0
        self.handles = []
        for name in self.queues:
            layer = module.get_submodule(name)
            assert isinstance(layer, BinaryConv2d | BinaryLinear)
            self.handles.append(layer.activation_binarizer.register_forward_hook(self._hook(name, layer)))

    def start(self, values: dict[str, np.ndarray]) -> None:
        """Set the values of the next image, from ``Session.values``."""
        self.values, self.calls = values, dict.fromkeys(self.queues, 0)

    def _hook(self, name: str, layer: BinaryConv2d | BinaryLinear) -> Any:
        def force(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
            site = self.queues[name][self.calls[name]]
            self.calls[name] += 1
            bits = torch.from_numpy(self.values[site.values[0]].astype(np.float32))[None]
            self._compare_bits(name, layer, inputs[0], output, bits)
            self._compare_accumulators(site, layer, bits)
            return bits

        return force

    def _compare_bits(
        self, name: str, layer: BinaryConv2d | BinaryLinear, x: Tensor, expected: Tensor, bits: Tensor
    ) -> None:
        different = bits != expected
        margin = (x - _threshold(layer, x)).abs()[different]
        limit = TIE * _spread(x)
        if margin.numel() and float(margin.max()) > limit:
            raise ParityError(
                f"Expected the runtime's signs before {name!r} to be torch's except at rounding ties, but one differs at "
                f"a distance of {float(margin.max()):.3g} from its threshold (a tie is at most {limit:.3g})."
            )
        self.bits += bits.numel()
        self.ties += int(different.sum())

    def _compare_accumulators(self, site: SignSite, layer: BinaryConv2d | BinaryLinear, bits: Tensor) -> None:
        term = layer.terms().terms[0]
        weight = term.weight.float()
        if isinstance(layer, BinaryLinear):
            expected = F.linear(bits, weight)
        else:
            pad = (term.padding[1], term.padding[1], term.padding[0], term.padding[0])
            padded = F.pad(bits, pad, value=float(term.pad_value))
            expected = F.conv2d(padded, weight, None, term.stride, 0, term.dilation, term.groups)
        found = self.session.accumulate(site.node, bits[0].numpy().astype(np.int8))
        if not np.array_equal(found, expected[0].numpy().astype(np.int32)):
            raise ParityError(f"Expected the accumulators of {site.node!r} to be torch's integers, but they differ.")
        self.accumulators += found.size


@contextmanager
def forced(module: nn.Module, session: Session, sites: list[SignSite]) -> Iterator[Forcing]:
    """While open, `module` computes with the runtime's bits; call ``start`` before each image.

    Args:
        module: in eval mode, float32, on the CPU; called on one image at a time.
        session: the artifact, loaded.
        sites: where the artifact's bits are, from `GraphWriter`.
    """
    forcing = Forcing(module, sites, session)
    try:
        yield forcing
    finally:
        for handle in forcing.handles:
            handle.remove()


@torch.no_grad()
def verify(module: nn.Module, session: Session, sites: list[SignSite], images: Tensor) -> Parity:
    """Compare a module with its artifact.

    Args:
        module: in eval mode, float32, on the CPU.
        session: the artifact, loaded.
        sites: where the artifact's bits are, from `GraphWriter`.
        images: (N, C, H, W) float32.

    Returns:
        The counts; it returns only if the artifact is right.

    Raises:
        ParityError: a bit differs that is no tie, an accumulator differs, or the raw outputs do.
    """
    error = 0.0
    with forced(module, session, sites) as forcing:
        for image in images:
            forcing.start(session.values(image.numpy()))
            expected = _flat(module(image[None]))
            found = _flat(session.forward(image[None].numpy()))
            for want, got in zip(expected, found, strict=True):
                error = max(error, _output_error(want, torch.from_numpy(got)))
    return Parity(len(images), forcing.bits, forcing.ties, forcing.accumulators, error)
