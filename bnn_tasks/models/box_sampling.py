"""Which regions the second stage learns from (Girshick, Fast R-CNN, 2015, §2.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

from bnn_tasks.models.anchors import in_crowd
from bnn_tasks.models.detector import BoxTarget
from bnn_tasks.models.rpn import sample

UNCOUNTED = -1  # label of a region that only fills up


@dataclass(frozen=True)
class RegionSample:
    """Regions with what they should become.

    Attributes:
        boxes: (N, S, 4) xyxy.
        labels: (N, S) int64: the object's class, num_classes for background, or UNCOUNTED.
        objects: (N, S, 4) xyxy of the object; of use where the label is a class.
    """

    boxes: Tensor
    labels: Tensor
    objects: Tensor


class RegionSampler:
    """Draws a fixed number of regions an image from the proposals and the objects themselves.

    A region is positive from IoU `foreground` with its best object on, background below. One whose best object is to be
    ignored is neither, as is one without area, and one below that has a share of at least `foreground` of its area in a crowd.
    Where an image has fewer, those drawn are repeated, uncounted, so that shapes depend on no value.

    Args:
        count: S >= 1, regions an image; the papers have 64 to 512.
        positive_share: most of them that are positive, in (0, 1]; the paper's 1/4.
        foreground: IoU in (0, 1]; the paper's 0.5.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, count: int = 128, positive_share: float = 0.25, foreground: float = 0.5) -> None:
        if count < 1 or not 0 < positive_share <= 1 or not 0 < foreground <= 1:
            raise ValueError(
                "Expected `count` >= 1, `positive_share` and `foreground` in (0, 1], but got "
                f"{count}, {positive_share}, {foreground}."
            )
        self.count, self.positive_share, self.foreground = count, positive_share, foreground

    @torch.no_grad()
    def __call__(self, proposals: Tensor, targets: Sequence[BoxTarget], num_classes: int) -> RegionSample:
        """Regions of a batch.

        Args:
            proposals: (N, R, 4) xyxy.
            targets: ground truth, one an image.
            num_classes: K.
        """
        drawn = [self._image(boxes, target, num_classes) for boxes, target in zip(proposals, targets, strict=True)]
        return RegionSample(*(torch.stack(values) for values in zip(*drawn, strict=True)))

    def _image(self, proposals: Tensor, target: BoxTarget, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
        boxes = torch.cat([proposals, target.boxes[~target.ignore]])
        usable = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        best = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
        positive = torch.zeros_like(usable)
        if len(target.boxes):
            overlap, best = box_iou(target.boxes, boxes).max(dim=0)
            positive = usable & (overlap >= self.foreground)
            negative = usable & ~positive & ~in_crowd(boxes, target.boxes[target.crowd], self.foreground)
            positive = positive & ~target.ignore[best]
        else:
            negative = usable
        found, empty = sample(positive, negative, self.count, self.positive_share)
        return self._filled(boxes, found, empty, best, target, num_classes)

    def _filled(
        self, boxes: Tensor, found: Tensor, empty: Tensor, best: Tensor, target: BoxTarget, num_classes: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        drawn = torch.cat([found, empty])
        labels = boxes.new_full((self.count,), UNCOUNTED, dtype=torch.int64)
        regions, objects = boxes.new_zeros(self.count, 4), boxes.new_zeros(self.count, 4)
        if len(drawn):
            labels[: len(found)] = target.labels[best[found]]
            labels[len(found) : len(drawn)] = num_classes
            objects[: len(found)] = target.boxes[best[found]]
            regions = boxes[drawn[torch.arange(self.count, device=boxes.device) % len(drawn)]]
        return regions, labels, objects
