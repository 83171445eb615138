"""What a two-stage detector minimises for the boxes of its positives."""

import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from bnn_tasks.models.anchors import Weights, decode, encode


class BoxLoss:
    """Base class: deltas that were predicted against what they should have been."""

    def __call__(self, deltas: Tensor, anchors: Tensor, boxes: Tensor, weights: Weights) -> Tensor:
        """Sum over all rows, a scalar; with a gradient of zero where there are none.

        Args:
            deltas: (M, 4), predicted.
            anchors: (M, 4) xyxy, that the deltas refer to.
            boxes: (M, 4) xyxy, the objects.
            weights: of the deltas, see `encode`.
        """
        raise NotImplementedError


class SmoothL1BoxLoss(BoxLoss):
    """Σ of d²/(2β) where abs(d) < β, abs(d) - β/2 elsewhere, d the error of a delta (Girshick, Fast R-CNN, 2015, eq. 3).

    Args:
        beta: β > 0; 1/9 is Detectron's for the region proposal network and torchvision's for both stages.

    Raises:
        ValueError: `beta` is out of range.
    """

    def __init__(self, beta: float = 1 / 9) -> None:
        if not beta > 0:
            raise ValueError(f"Expected `beta` to be > 0, but got {beta}.")
        self.beta = beta

    def __call__(self, deltas: Tensor, anchors: Tensor, boxes: Tensor, weights: Weights) -> Tensor:
        """See the base class."""
        return F.smooth_l1_loss(deltas, encode(boxes, anchors, weights), beta=self.beta, reduction="sum")


class GIoUBoxLoss(BoxLoss):
    """Σ of 1 - GIoU of decoded boxes and objects (Rezatofighi et al., Generalized IoU, 2019)."""

    def __call__(self, deltas: Tensor, anchors: Tensor, boxes: Tensor, weights: Weights) -> Tensor:
        """See the base class."""
        loss: Tensor = generalized_box_iou_loss(decode(deltas, anchors, weights), boxes, reduction="sum")
        return loss if len(deltas) else deltas.sum() * 0
