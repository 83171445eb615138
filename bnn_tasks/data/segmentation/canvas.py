"""Where a picture's mask lies on the canvas that shows the picture."""

import numpy as np

from bnn_tasks.data.segmentation.batch import VOID
from bnn_tasks.runtime.images import Placement, Size, covered_pixels


def draw_mask(mask: np.ndarray, placement: Placement, size: Size) -> np.ndarray:
    """Sample a mask at the centres of a canvas's pixels: canvas x shows image pixel floor((x + 0.5 - offset) / scale).

    A class is never mixed with another, so the sampling is nearest-neighbour. A canvas pixel that ``Resize.fit``
    leaves grey is void.

    Args:
        mask: (height, width) uint8 of the picture.
        placement: of the picture on the canvas; a negative scale is a flip.
        size: (height, width) of the canvas.

    Returns:
        (H, W) uint8, 255 outside the picture.
    """
    rows, top, bottom = _axis(placement.scale_y, placement.offset_y, mask.shape[0], size[0])
    columns, left, right = _axis(placement.scale_x, placement.offset_x, mask.shape[1], size[1])
    canvas = np.full(size, VOID, np.uint8)
    canvas[top:bottom, left:right] = mask[rows[:, None], columns]
    return canvas


def _axis(scale: float, offset: float, length: int, side: int) -> tuple[np.ndarray, int, int]:
    """Image pixels that an axis of the canvas shows, and the first and the end of the canvas pixels that show them."""
    first, end = covered_pixels(scale, offset, length, side)
    pixels = np.floor((np.arange(first, end) + 0.5 - offset) / scale).astype(np.intp)
    return pixels.clip(0, length - 1), first, end
