"""Filters in several rotations of their rim: CBCN."""

import torch
from torch import Tensor

from bnn_tasks.binary.estimators import Estimator
from bnn_tasks.binary.geometry import LayerShape
from bnn_tasks.binary.weights.base import Basis, WeightBinarizer
from bnn_tasks.binary.weights.sign import MagnitudeAware

ROTATIONS = 4
# Row-major places of a 3×3 filter's rim, clockwise.
_RIM = (0, 1, 2, 5, 8, 7, 6, 3)


def _turn(quarter: int) -> list[int]:
    """Where each of the 9 taps comes from after `quarter` turns of 90°, two places along the rim each."""
    source = list(range(9))
    for place, tap in enumerate(_RIM):
        source[tap] = _RIM[(place - 2 * quarter) % 8]
    return source


class CirculantFilters(WeightBinarizer):
    """Every learned 3×3 filter gives four, its rim turned by 0, 90, 180 and 270° (Liu et al., CBCN, 2019).

    A layer of O outputs learns O/4 filters; output 4j + r is filter j turned r times. All four are binarised as Bi-Real does.
    The gradient of a filter is the mean of the gradients of its four, each turned back. Of the paper only its description was
    at hand: the form is reconstructed from it.

    Args:
        shape: of the layer.
        estimator: the surrogate gradient of the sign.

    Raises:
        ValueError: the kernel is not 3×3, or four does not divide the outputs of a group (so for every depthwise layer).
    """

    def __init__(self, shape: LayerShape, estimator: str | Estimator) -> None:
        super().__init__()
        if shape.linear or shape.kernel != (3, 3) or (shape.out_channels // shape.groups) % ROTATIONS:
            raise ValueError(
                f"Expected 3×3 convolutions with a multiple of {ROTATIONS} outputs a group for circulant filters, but got "
                f"{shape}. "
                "Cure: keep the layer real, or give it another method."
            )
        self.binarizer = MagnitudeAware(estimator)
        self.register_buffer("source", torch.tensor([_turn(r) for r in range(ROTATIONS)]), persistent=False)

    source: Tensor

    def expand(self, weight: Tensor) -> Tensor:
        """(O/4, I, 3, 3) -> (O, I, 3, 3), gradients averaged."""
        share = weight / ROTATIONS
        mean = weight.detach() + (share - share.detach())
        turned = mean.flatten(2)[:, :, self.source]  # (O/4, I, 4, 9)
        return turned.movedim(2, 1).reshape(-1, *weight.shape[1:])

    def forward(self, weight: Tensor) -> Tensor:
        """The four rotations, binarised."""
        result: Tensor = self.binarizer(self.expand(weight))
        return result

    def bases(self, weight: Tensor) -> list[Basis]:
        """One."""
        return self.binarizer.bases(self.expand(weight))

    def initial_latent(self, weight: Tensor) -> Tensor:
        """Every fourth filter of a float layer."""
        return weight[::ROTATIONS]
