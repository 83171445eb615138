"""BiDet's information bottleneck: what the feature maps say beyond the task costs something."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bnn_tasks.models.auxiliary import AuxiliaryLoss
from bnn_tasks.models.detector import BoxTarget, Detector, RawOutputs

# BiDet's code turns its terms on at the first drop of the learning rate: of SSD's 300 000 iterations, after 30 000.
FIRST_DROP = 0.1


def check_weight_and_start(weight: float, start: float) -> None:
    """Raise ValueError if `weight` is not finite and > 0, or `start` not in [0, 1)."""
    if not 0 < weight < math.inf:
        raise ValueError(f"Expected `weight` to be finite and > 0, but got {weight}. Cure: leave the loss out for 0.")
    if not 0 <= start < 1:
        raise ValueError(f"Expected `start` to be in [0, 1), but got {start}. Cure: a share of the run's steps.")


class InformationBottleneck(AuxiliaryLoss):
    """weight · mean over the maps of mean(F²), F the maps that the dense predictions read (Wang et al., BiDet, 2020).

    The released code puts this in the place of the mutual information between image and features: small features say little.
    Its head also draws each box from a normal law around the prediction, of a standard deviation of 0.001·σ in units of the
    regressed numbers, σ learned; that is nearly no noise, would double the box outputs and is not built.

    Args:
        weight: finite and > 0; 0.1 is the released code's.
        start: share of the run's steps after which the loss counts, in [0, 1); 0.1 is where the released SSD's learning rate
            first drops (its Faster R-CNN has the loss from the first step: 0).

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, weight: float = 0.1, start: float = FIRST_DROP) -> None:
        super().__init__()
        check_weight_and_start(weight, start)
        self.weight, self.start = weight, start

    def forward(
        self,
        detector: Detector,
        images: Tensor,
        features: list[Tensor],
        outputs: RawOutputs,
        targets: Sequence[BoxTarget],
        progress: float,
    ) -> dict[str, Tensor]:
        """``information_bottleneck``; nothing before ``start``."""
        if progress < self.start:
            return {}
        squares = [feature.float().square().mean() for feature in features]
        return {"information_bottleneck": self.weight * torch.stack(squares).mean()}
