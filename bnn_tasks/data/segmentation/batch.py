"""What a segmentation data module hands to a task."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from bnn_tasks.runtime.images import Placement

VOID = 255  # neither learnt nor judged


@dataclass
class SegmentationTarget:
    """The truth of one picture.

    Attributes:
        mask: (h, w) uint8 at the picture's own size, which is what predictions are judged against; 0..K-1 are classes, 255
            is void.
        file_name: of the picture, below the folder of the pictures.
        placement: where the picture lies on the canvas; a negative scale is a flip.
    """

    mask: Tensor
    file_name: str
    placement: Placement


@dataclass
class SegmentationSample:
    """One picture before batching.

    Attributes:
        canvas: (H, W, C) uint8; RGB, or grey where C is 1.
        mask: (H, W) uint8 on the canvas; 255 where void and outside the picture.
        target: its truth at its own size.
        damaged: names of unreadable pictures that this one stands in for.
    """

    canvas: np.ndarray
    mask: np.ndarray
    target: SegmentationTarget
    damaged: list[str] = field(default_factory=list)


@dataclass
class SegmentationBatch:
    """A batch of canvases of one shape.

    Attributes:
        images: (B, C, H, W) float32 in [0, 1]; RGB, or grey where C is 1.
        masks: (B, H, W) int64 on the canvas; 0..K-1 are classes, 255 is void and what lies outside the picture.
        targets: one per picture.
        damaged: names of unreadable training pictures that others stand in for.
    """

    images: Tensor
    masks: Tensor
    targets: list[SegmentationTarget]
    damaged: list[str]


def collate(samples: Sequence[SegmentationSample]) -> SegmentationBatch:
    """Join samples whose canvases have one shape.

    Args:
        samples: at least one.
    """
    canvases = torch.from_numpy(np.stack([sample.canvas for sample in samples]))
    return SegmentationBatch(
        images=canvases.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(255),
        masks=torch.from_numpy(np.stack([sample.mask for sample in samples])).long(),
        targets=[sample.target for sample in samples],
        damaged=[name for sample in samples for name in sample.damaged],
    )
