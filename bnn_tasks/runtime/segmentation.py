"""From a segmenter's class map to its answer: the classes of the picture's own pixels."""

from dataclasses import dataclass

import numpy as np

from bnn_tasks.runtime.resize import Placement, Size


@dataclass(frozen=True)
class Segmentation:
    """What every pixel of one picture shows.

    Attributes:
        classes: (h, w) uint8 at the picture's own size, each in [0, K).
    """

    classes: np.ndarray

    def shares(self, count: int) -> np.ndarray:
        """Share of the picture's pixels that each class has.

        Args:
            count: of classes, K >= 1.

        Returns:
            (K,) float64 of sum 1.
        """
        return np.bincount(self.classes.reshape(-1), minlength=count)[:count] / self.classes.size


def to_picture(class_map: np.ndarray, placement: Placement, size: Size) -> np.ndarray:
    """The canvas's classes at the picture's pixels: each takes the canvas pixel that its centre falls in.

    Canvas coordinate of a pixel's centre: (x + ½) · scale_x + offset_x, likewise in y. Evaluation in training and in
    `run` both read their classes here, so that an IoU is always one of the picture's own pixels.

    Args:
        class_map: (H, W) of the canvas, of any integer dtype.
        placement: where the picture lies on the canvas.
        size: (height, width) of the picture, pixels.

    Returns:
        (height, width) of `class_map`'s dtype.

    Raises:
        ValueError: `class_map` has not two axes, or is empty.
    """
    if class_map.ndim != 2 or class_map.size == 0:
        raise ValueError(
            f"Expected `class_map` to be (H, W) with pixels, but got {class_map.shape}. Cure: one map a call."
        )
    rows = _places(size[0], placement.scale_y, placement.offset_y, class_map.shape[0])
    columns = _places(size[1], placement.scale_x, placement.offset_x, class_map.shape[1])
    return np.ascontiguousarray(class_map[rows[:, None], columns])


def _places(count: int, scale: float, offset: float, side: int) -> np.ndarray:
    """Canvas index of each of `count` pixels along an axis; those beyond the canvas take its edge."""
    centres = (np.arange(count) + 0.5) * scale + offset
    return np.clip(np.floor(centres).astype(np.int64), 0, side - 1)
