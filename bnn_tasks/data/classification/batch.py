"""What a classification data module hands to a task."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass
class ClassificationBatch:
    """A batch of canvases of one shape; N is at least 1.

    Attributes:
        images: (N, 3, H, W) float32 RGB in [0, 1].
        labels: (N,) int64 in 0..K-1.
        names: of the pictures shown, as in ``ClassificationData.samples``.
        damaged: names of unreadable training pictures that others stand in for.
    """

    images: Tensor
    labels: Tensor
    names: list[str]
    damaged: list[str]


def to_batch(
    canvases: np.ndarray, labels: Sequence[int] | np.ndarray, names: list[str], damaged: list[str]
) -> ClassificationBatch:
    """Convert canvases to the tensors of a batch.

    Args:
        canvases: (N, H, W, 3) uint8 RGB.
        labels: (N,) in 0..K-1.
        names: N of them.
        damaged: see ``ClassificationBatch``.
    """
    images = torch.from_numpy(canvases).permute(0, 3, 1, 2)
    return ClassificationBatch(
        images=images.to(torch.float32, memory_format=torch.contiguous_format).div_(255),
        labels=torch.from_numpy(np.array(labels, np.int64)),
        names=names,
        damaged=damaged,
    )
