"""PGD++: logits scaled until the softmax passes a gradient on (Gupta and Ajanthan, 2022)."""

import math

import torch
from torch import Tensor

from bnn_tasks.robustness.attacks.base import Attack, Attacked
from bnn_tasks.robustness.attacks.wrapped import WrappedAttack, revalued
from bnn_tasks.robustness.objective import ClassificationObjective, Model, Objective, of_kind

RHO = 0.01  # the authors' ρ: the error signal 1 - p_y that a scale leaves at least
GRID = 100  # the authors' grid of β for the Hessian norm
MOST_VALUES = 1 << 26  # of Jacobians at a time: 256 MiB
_RANGE = 1e-3  # ours: the grid's smallest β as a share of its largest, and the smallest γ as one of the logits' range


def _parts(model: Model, images: Tensor) -> tuple[Tensor, ...]:
    """Images a few at a time, so that their Jacobians fit into memory."""
    with torch.no_grad():
        classes = model(images[:1]).shape[1]
    return images.split(max(1, MOST_VALUES // (classes * images[:1].numel())))


def jacobian(model: Model, images: Tensor) -> tuple[Tensor, Tensor]:
    """(logits (B, K), d logits / d images (B, K, C·H·W)) in float32, in K backward passes.

    Args:
        model: images in [0, 1] -> logits.
        images: (B, C, H, W).
    """
    with torch.enable_grad():
        x = images.detach().requires_grad_()
        logits = model(x).float()
        rows = [torch.autograd.grad(logits[:, k].sum(), x, retain_graph=True)[0] for k in range(logits.shape[1])]
    return logits.detach(), torch.stack(rows, 1).flatten(2).float()


def largest_scale(gap: Tensor, classes: int) -> Tensor:
    """β = -ln(ρ/((1-ρ)(K-1)))/γ, the largest for which K-1 logits, each γ below the first, leave 1 - p_1 >= ρ.

    Args:
        gap: γ > 0, any shape.
        classes: K >= 2.
    """
    return -math.log(RHO / ((1 - RHO) * (classes - 1))) / gap


class Temperature:
    """Base class: what the logits of each image are multiplied by."""

    name: str

    def scales(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """β > 0, (B,).

        Args:
            model: images in [0, 1] -> logits (B, K).
            images: (B, C, H, W).
            labels: (B,) int64.
        """
        raise NotImplementedError


class NJS(Temperature):
    """Network Jacobian scaling: β = 1/mean singular value of d logits/dx, over the classes and the batch's images.

    Where that leaves an image's 1 - p_y below ρ, its β is the largest that does not, γ being the largest logit less the
    smallest. Where all logits are equal (γ = 0), no scale is needed, and β stays.

    Args:
        samples: images of the batch, its first, that the singular values are taken of, >= 1; about the authors' 100.

    Raises:
        ValueError: `samples` is out of range.
    """

    name = "NJS"

    def __init__(self, samples: int = 100) -> None:
        if samples < 1:
            raise ValueError(f"Expected `samples` to be >= 1, but got {samples}.")
        self.samples = samples

    def scales(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """See the class; 1/mean is 1 where the Jacobian is 0."""
        with torch.no_grad():
            logits = model(images).float()
        parts = _parts(model, images[: self.samples])
        mean = float(torch.cat([torch.linalg.svdvals(jacobian(model, part)[1]) for part in parts]).mean())
        scale = torch.full((len(images),), 1 / mean if mean > 0 else 1.0, device=images.device)
        missing = 1 - (logits * scale[:, None]).softmax(1).gather(1, labels[:, None])[:, 0]
        gap = logits.amax(1) - logits.amin(1)
        cap = largest_scale(gap, logits.shape[1])
        return torch.where((missing < RHO) & (gap > 0), torch.minimum(scale, cap), scale)


class HNS(Temperature):
    """Hessian norm scaling: of a grid of β, image by image that of the largest ‖d²CE(β·z)/dx²‖_F.

    In a net that is linear piece by piece the Hessian is β²·Jᵀ(diag(p) - ppᵀ)J, p = softmax(β·z). The grid is geometric and
    ends at `largest_scale`, γ being the largest logit less the second, but no less than a thousandth of the logits' range: a
    tie would send β to infinity.
    """

    name = "HNS"

    def scales(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """See the class; 1 where all logits are equal."""
        found = []
        for part in _parts(model, images):
            own, rows = jacobian(model, part)
            found.append((own, rows @ rows.mT))
        logits, gram = (torch.cat(one) for one in zip(*found))
        top = logits.sort(1, descending=True).values
        spread = top[:, 0] - top[:, -1]
        gap = torch.maximum(top[:, 0] - top[:, 1], _RANGE * spread)
        end = torch.where(spread > 0, largest_scale(gap, logits.shape[1]), 1.0)
        grid = torch.logspace(math.log10(_RANGE), 0, GRID, device=images.device)
        norms = []
        for share in grid:
            p = (logits * (share * end)[:, None]).softmax(1)
            product = (torch.diag_embed(p) - p[:, :, None] * p[:, None, :]) @ gram
            # ‖JᵀAJ‖² = tr(A·JJᵀ·A·JJᵀ); the factor of β⁴ that all of an image's grid shares is left out.
            norms.append(share**4 * (product * product.mT).sum((1, 2)))
        best = torch.stack(norms).argmax(0)
        return torch.where(spread > 0, grid[best] * end, 1.0)


class ScaledObjective(Objective):
    """The loss of a classifier's scaled logits; what counts as lost does not change, since β > 0.

    Args:
        objective: of the batch.
        scales: β, (B,).
    """

    def __init__(self, objective: ClassificationObjective, scales: Tensor) -> None:
        self.objective, self.scales = objective, scales
        self._scaled = objective.with_model(lambda images: objective.model(images) * scales[:, None])

    def __call__(self, images: Tensor, progress: float = 0.0) -> Tensor:
        """The loss of β·z."""
        return self._scaled(images, progress)

    def judged(self, images: Tensor, progress: float = 0.0) -> tuple[Tensor, Tensor]:
        """Both of one forward pass."""
        return self._scaled.judged(images, progress)

    def broken(self, images: Tensor) -> Tensor:
        """The objective's word."""
        return self.objective.broken(images)

    def select(self, index: Tensor) -> "ScaledObjective":
        """The same on some of the images."""
        return ScaledObjective(self.objective.select(index), self.scales[index])


class TemperatureScaled(WrappedAttack):
    """PGD++ with ``TemperatureScaled(PGD(), NJS())`` (Gupta and Ajanthan, Improved Gradient-Based Adversarial Attacks, 2022).

    A binary net's logits are sums of many ±1: their softmax is saturated, and its gradient 0, or else rounding. β is chosen on
    the unperturbed images and kept.

    Args:
        attack: on the cross-entropy, which scales matter to.
        temperature: of the logits.

    Raises:
        TypeError: `attack` is not one of any objective.
    """

    objective = ClassificationObjective

    def __init__(self, attack: Attack, temperature: Temperature) -> None:
        super().__init__(attack, f"{attack.name} {temperature.name}", ScaledObjective)
        self.temperature = temperature
        self.needs_gradient = True  # the temperatures do

    def __call__(self, objective: Objective, images: Tensor, eps: float, generator: torch.Generator) -> Attacked:
        """Attack one batch; see `Attack`. The trace is the scaled loss's.

        Raises:
            TypeError: the objective is not a classifier's.
        """
        given = of_kind(objective, ClassificationObjective)
        scales = self.temperature.scales(given.model, images, given.labels)
        return revalued(self.attack(ScaledObjective(given, scales), images, eps, generator), given)
