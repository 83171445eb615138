"""What a detection data module hands to a task."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from bnn_tasks.runtime.images import Placement


@dataclass
class DetectionTarget:
    """The objects of one image; N may be 0.

    Where training shows several images on one canvas, the canvas is the image: ``image_boxes``, ``area`` and ``placement``
    are in its pixels, ``image_id`` is the first one's, and ``file_name`` names all.

    Attributes:
        boxes: (N, 4) float32 xyxy, canvas pixels, clipped to the canvas.
        labels: (N,) int64 in 0..K-1.
        ignore: (N,) bool; neither positive nor negative in the loss (crowds, difficult objects by default, and
            boxes that the canvas's edge leaves without area).
        crowd: (N,) bool; COCO's ``iscrowd``.
        difficult: (N,) bool; VOC's ``difficult``.
        area: (N,) float32, original pixels; COCO's ``area`` where the set has it, else the box's.
        image_boxes: (N, 4) float32 xyxy, original pixels; what predictions are judged against.
        image_id: of the image in ``DetectionData.ground_truth``.
        file_name: of the image in ``DetectionData.ground_truth``.
        placement: where the image lies on the canvas.
    """

    boxes: Tensor
    labels: Tensor
    ignore: Tensor
    crowd: Tensor
    difficult: Tensor
    area: Tensor
    image_boxes: Tensor
    image_id: int
    file_name: str
    placement: Placement


@dataclass
class DetectionSample:
    """One image before batching.

    Attributes:
        canvas: (H, W, C) uint8; RGB, or grey where C is 1.
        target: its objects.
        damaged: names of unreadable images that this one stands in for.
    """

    canvas: np.ndarray
    target: DetectionTarget
    damaged: list[str] = field(default_factory=list)


@dataclass
class DetectionBatch:
    """A batch of canvases of one shape.

    Attributes:
        images: (B, C, H, W) float32 in [0, 1]; RGB, or grey where C is 1.
        targets: one per image.
        damaged: names of unreadable training images that others stand in for.
    """

    images: Tensor
    targets: list[DetectionTarget]
    damaged: list[str]


def collate(samples: Sequence[DetectionSample]) -> DetectionBatch:
    """Join samples whose canvases have one shape.

    Args:
        samples: at least one.
    """
    canvases = torch.from_numpy(np.stack([sample.canvas for sample in samples]))
    return DetectionBatch(
        images=canvases.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(255),
        targets=[sample.target for sample in samples],
        damaged=[name for sample in samples for name in sample.damaged],
    )
