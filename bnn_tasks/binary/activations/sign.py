"""One plane of signs, and no binarisation at all."""

import torch
from torch import Tensor, nn

from bnn_tasks.binary.activations.base import ActivationBinarizer, Plane
from bnn_tasks.binary.attack_surrogate import in_force
from bnn_tasks.binary.estimators import Estimator, get_estimator
from bnn_tasks.binary.geometry import Geometry
from bnn_tasks.binary.product import signed_product
from bnn_tasks.binary.terms import Real, Threshold


class SignActivation(ActivationBinarizer):
    """A = sign(x) (Courbariaux et al., BNN, 2016).

    Args:
        estimator: the surrogate gradient.
    """

    def __init__(self, estimator: str | Estimator) -> None:
        super().__init__()
        self.estimator = get_estimator(estimator)

    def forward(self, x: Tensor) -> Tensor:
        """Binarise `x`, any shape."""
        signs: Tensor = in_force(self.estimator, x)(x)
        return signs

    def planes(self) -> list[Plane]:
        """One, with threshold zero for every channel."""
        return [Plane(Threshold())]

    def product(self, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        """In one step."""
        return signed_product(x, weight, in_force(self.estimator, x), geometry)


class RSign(ActivationBinarizer):
    """A = sign(x - θ_c) with one learned threshold a channel (Liu et al., ReActNet, 2020, eq. 1).

    Args:
        channels: C, the size of dimension 1 of the input.
        estimator: the surrogate gradient, evaluated at x - θ.
    """

    def __init__(self, channels: int, estimator: str | Estimator) -> None:
        super().__init__()
        self.estimator = get_estimator(estimator)
        self.theta = nn.Parameter(torch.zeros(channels))

    def _shifted(self, x: Tensor) -> Tensor:
        return x - self.theta.to(x.dtype).view(-1, *[1] * (x.dim() - 2))

    def forward(self, x: Tensor) -> Tensor:
        """Binarise `x`, (N, C, ...)."""
        shifted = self._shifted(x)
        signs: Tensor = in_force(self.estimator, shifted)(shifted)
        return signs

    def planes(self) -> list[Plane]:
        """One, with θ; in IEEE arithmetic x - θ >= 0 and x >= θ are the same statement."""
        return [Plane(Threshold(self.theta.detach().float().clone()))]

    def product(self, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        """In one step."""
        shifted = self._shifted(x)
        return signed_product(shifted, weight, in_force(self.estimator, shifted), geometry)


class ScaledSign(SignActivation):
    """A = sign(x), the gradient taken at x / std(x) of every image in training (Xu et al., ReCU, 2021).

    The released code divides in training only; the sign, and so evaluation, does not see the division.

    Args:
        estimator: the surrogate gradient, evaluated at x / std.
    """

    def _scaled(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        # The floor is for constant images: their values are all alike, and their gradient should stay finite.
        dims, correction = tuple(range(1, x.dim())), min(1, x[0].numel() - 1)
        return x / x.std(dim=dims, correction=correction, keepdim=True).clamp_min(1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """Binarise `x`, (N, C, ...)."""
        return super().forward(self._scaled(x))

    def product(self, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        """In one step."""
        return super().product(self._scaled(x), weight, geometry)


class RealActivation(ActivationBinarizer):
    """A = x: the activation stays real, only the weight is binary (BinaryConnect, BWN)."""

    tells_positives_apart = True

    def forward(self, x: Tensor) -> Tensor:
        """`x` itself."""
        return x

    def planes(self) -> list[Plane]:
        """One, real."""
        return [Plane(Real())]
