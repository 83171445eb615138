"""Activations of several planes: {0, 1} values, shifted bases, an offset, residuals."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from bnn_tasks.binary.activations.base import ActivationBinarizer, Plane
from bnn_tasks.binary.attack_surrogate import in_force, replacement
from bnn_tasks.binary.estimators import STE, ClippedSTE, Estimator, get_estimator, sign
from bnn_tasks.binary.geometry import Geometry
from bnn_tasks.binary.terms import Ones, Residual, Threshold


def _scalar(value: Tensor) -> Tensor:
    return value.detach().float().clone()


FAR = 1e4  # beyond every threshold, and finite in float16


class _Levels(ActivationBinarizer):
    """Base class of activations whose values are not ±1: outside an image padded with ±1 they have the level of that bit."""

    def product(self, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        """The border is binarised with the image."""
        if not geometry.pads_with_zeros:
            x, geometry = geometry.pad_with(x, geometry.pad_value * FAR), replace(geometry, padding=(0, 0))
        return super().product(x, weight, geometry)


class ZeroOne(_Levels):
    """a = round(clip(x, 0, 1)) ∈ {0, 1}, gradient 1 inside [0, 1] (Zhou et al., DoReFa-Net, 2016, eq. 5 with k = 1).

    x = 0.5 gives 1. As planes a = (A + 1)/2, A = sign(x - 0.5).
    """

    tells_positives_apart = True

    def forward(self, x: Tensor) -> Tensor:
        """Binarise `x`, any shape, to 0 and 1."""
        # |x - 0.5| <= 0.5 is the clipped STE's window at 2x - 1, whose slope 2 the factor 1/2 takes back.
        centred = 2 * x - 1
        signs: Tensor = in_force(ClippedSTE(), centred)(centred)
        return (signs + 1) / 2

    def planes(self) -> list[Plane]:
        """A and A_0, half each."""
        half = torch.tensor(0.5)
        return [Plane(Threshold(torch.tensor([0.5])), half), Plane(Ones(), half.clone())]


class ShiftedBases(_Levels):
    """Σ_n β_n·A_n, A_n = 2·[clip(x + v_n, 0, 1) >= 0.5] - 1, β and v learned (Lin et al., ABC-Net, 2017, eqs. 9-12).

    Backward: dA_n/dx = dA_n/dv_n = 1 where 0 <= x + v_n <= 1. The paper's backward writes 0 <= x - v <= 1, which does not fit
    its own forward; the forward's sign is kept.

    Args:
        count: N >= 1. The shifts start evenly over [-0.5, 0.5] around 0.5, so that the thresholds 0.5 - v_n surround zero; β
            starts at 1/N.

    Raises:
        ValueError: `count` is out of range.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        if count < 1:
            raise ValueError(f"Expected `count` to be >= 1, but got {count}.")
        spread = torch.linspace(-0.5, 0.5, count) if count > 1 else torch.zeros(1)
        self.shift = nn.Parameter(0.5 + spread)
        self.beta = nn.Parameter(torch.full((count,), 1 / count))

    def forward(self, x: Tensor) -> Tensor:
        """Binarise `x`, any shape."""
        total: Tensor | None = None
        for shift, beta in zip(self.shift, self.beta):
            # x + v in [0, 1] is the clipped STE's window at 2·(x - threshold); halving its slope of 2 leaves the paper's 1.
            centred = 2 * (x - (0.5 - shift).to(x.dtype))
            signs = in_force(ClippedSTE(), centred)(centred)
            signs = signs.detach() + (signs - signs.detach()) / 2
            plane = signs * beta.to(x.dtype)
            total = plane if total is None else total + plane
        assert total is not None
        return total

    def planes(self) -> list[Plane]:
        """N, with scalar thresholds 0.5 - v_n."""
        return [
            Plane(Threshold(_scalar(0.5 - shift).view(1)), _scalar(beta)) for shift, beta in zip(self.shift, self.beta)
        ]


class AffineSign(_Levels):
    """a = α·sign((x - β)/α) + β with α > 0 and β learned for the layer (Tu et al., AdaBin, 2022, eq. 12).

    The released code returns α·(sign + β) instead; the paper's form is built.

    Args:
        estimator: the surrogate gradient, evaluated at (x - β)/α.
    """

    def __init__(self, estimator: str | Estimator) -> None:
        super().__init__()
        self.estimator = get_estimator(estimator)
        self.alpha = nn.Parameter(torch.ones(()))
        self.beta = nn.Parameter(torch.zeros(()))

    def _alpha(self) -> Tensor:
        return self.alpha.abs().clamp_min(1e-4)  # a learned α may cross zero; a distance cannot

    def forward(self, x: Tensor) -> Tensor:
        """Binarise `x`, any shape, to β ± α."""
        alpha, beta = self._alpha().to(x.dtype), self.beta.to(x.dtype)
        centred = (x - beta) / alpha
        signs: Tensor = in_force(self.estimator, centred)(centred)
        return signs * alpha + beta

    def planes(self) -> list[Plane]:
        """A with α and A_0 with β."""
        beta = _scalar(self.beta)
        return [Plane(Threshold(beta.view(1)), _scalar(self._alpha())), Plane(Ones(), beta)]


class ResidualPlanes(ActivationBinarizer):
    """Σ_i β_i·H_i of every patch: H_i = sign(R_i), β_i = ‖R_i‖₁/n, R_{i+1} = R_i - β_i·H_i (Li et al., HORQ, 2017).

    Backward: the clipped STE for every sign, β held constant, for which the paper states no gradient. With order 1 and stride 1
    it is XNOR-Net's activation, β being the K map.

    Args:
        order: K >= 1; the paper's 2.

    Raises:
        ValueError: `order` is out of range.
    """

    def __init__(self, order: int = 2) -> None:
        super().__init__()
        if order < 1:
            raise ValueError(f"Expected `order` to be >= 1, but got {order}.")
        self.order = order
        self.estimator = ClippedSTE()

    def decompose(self, patches: Tensor, inside: Tensor) -> Tensor:
        """Σ β_i·H_i, of the shape of `patches`, (N, G, n, ...); 0 where `inside` is 0."""
        residual, total = patches, torch.zeros_like(patches)
        for _ in range(self.order):
            signs = in_force(self.estimator, residual)(residual)
            plane = signs * inside * residual.detach().abs().mean(dim=2, keepdim=True)
            total, residual = total + plane, residual - plane
        return total

    def product(self, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        """Patches instead of the image."""
        patches = self.decompose(geometry.patches(x), geometry.inside(x))
        y = geometry.patch_product(patches, weight.to(patches.dtype))
        return y.flatten(1, 2)

    def planes(self) -> list[Plane]:
        """The residuals' signs; β belongs to the operand."""
        return [Plane(Residual(index)) for index in range(self.order)]


class SoftQuantized(_Levels):
    """a = (l+u)/2 + (u-l)/2·sign(φ(x)), with l, u and α learned (Gong et al., DSQ, 2019; one interval).

    Backward runs through φ(x) = tanh(k·(clip(x, l, u) - (l+u)/2))/(1-α), k = ln(2/α - 1)/(u-l), with the identity for sign(φ).
    """

    def __init__(self) -> None:
        super().__init__()
        self.lower = nn.Parameter(torch.tensor(-1.0))
        self.upper = nn.Parameter(torch.tensor(1.0))
        self.alpha = nn.Parameter(torch.tensor(0.2))
        self.estimator = STE()

    def forward(self, x: Tensor) -> Tensor:
        """Binarise `x`, any shape, to l and u."""
        lower, upper = self.lower.to(x.dtype), self.upper.to(x.dtype)
        centred = x - (lower + upper) / 2
        other = replacement(centred)
        if other is not None:  # instead of φ with its clip, not behind it
            signs: Tensor = other(centred)
            return (lower + upper) / 2 + (upper - lower) / 2 * signs
        return soft_quantize(x, self.lower, self.upper, self.alpha, self.estimator)

    def planes(self) -> list[Plane]:
        """A with (u-l)/2 and A_0 with (l+u)/2."""
        middle = _scalar(self.lower + self.upper) / 2
        half = _scalar(self.upper - self.lower) / 2
        return [Plane(Threshold(middle.view(1)), half), Plane(Ones(), middle)]


def soft_quantize(x: Tensor, lower: Tensor, upper: Tensor, alpha: Tensor, estimator: Estimator) -> Tensor:
    """(l+u)/2 + (u-l)/2·sign(φ(x)) with DSQ's gradients; see `SoftQuantized`.

    Args:
        x: any shape.
        lower: l, 0-dimensional.
        upper: u, 0-dimensional.
        alpha: α, 0-dimensional; clamped to [1e-3, 0.5].
        estimator: the gradient of sign(φ).
    """
    lower, upper, alpha = (value.to(x.dtype) for value in (lower, upper, alpha.clamp(1e-3, 0.5)))
    middle, width = (lower + upper) / 2, upper - lower
    inside = torch.minimum(torch.maximum(x, lower), upper)
    soft = torch.tanh(torch.log(2 / alpha - 1) / width * (inside - middle)) / (1 - alpha)
    # The value decides by x itself: φ has the sign of x - middle, and in low precision its rounding must not matter.
    hard = sign(x - middle)
    return middle + width / 2 * (estimator(soft) + (hard - estimator(soft)).detach())
