"""What an activation binariser offers."""

from dataclasses import dataclass

from torch import Tensor, nn

from bnn_tasks.binary.geometry import Geometry
from bnn_tasks.binary.terms import Operand


@dataclass(frozen=True)
class Plane:
    """One summand of a binarised activation: β · A.

    Attributes:
        operand: the rule of A.
        scale: β, 0-dimensional float32; None is 1.
    """

    operand: Operand
    scale: Tensor | None = None


class ActivationBinarizer(nn.Module):
    """Base class: a real tensor in, Σ_j β_j·A_j out, A_j ∈ {-1, +1}.

    Attributes:
        tells_positives_apart: whether it says something about an input that is never negative, as it starts: a sign does not.
    """

    tells_positives_apart = False

    @property
    def ready(self) -> bool:
        """Whether the activations are binary by now; a method that hardens during training says no before its end."""
        return True

    def forward(self, x: Tensor) -> Tensor:
        """Binarise `x`, (N, C, ...); gradients are the method's surrogates."""
        raise NotImplementedError

    def planes(self) -> list[Plane]:
        """The same as rules and scales, detached copies, once ``ready``."""
        raise NotImplementedError

    def product(self, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        """The layer's sums in training, before its output scale.

        Args:
            x: the layer's real input, (N, C, H, W) or (N, C).
            weight: effective weight, (O, C/groups, kh, kw) or (O, C).
            geometry: of the layer.
        """
        signs = self(x)
        return geometry.product(signs, weight.to(signs.dtype))
