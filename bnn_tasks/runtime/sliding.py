"""Large pictures in overlapping windows of a segmenter's input size, at the picture's own scale."""

import math
from collections.abc import Callable

import numpy as np

from bnn_tasks.runtime.resize import Resize, Size
from bnn_tasks.runtime.simd.softmax import add_softmax

MAX_BYTES = 4 << 30  # of the probabilities of all pixels that a row of windows reaches, and of all classes


class TooLarge(ValueError):
    """A picture whose probabilities do not fit into the memory that windows may take."""


def check_overlap(overlap: float) -> None:
    """Raise ValueError unless `overlap` is in [0, 1)."""
    if not 0 <= overlap < 1:
        raise ValueError(f"Expected `overlap` to be in [0, 1), but got {overlap}. Cure: 0.25, say.")


def starts(length: int, side: int, overlap: float) -> list[int]:
    """Where windows start along an axis: as few as overlap by at least a share, evenly apart, the picture's ends at theirs.

    Args:
        length: of the picture, pixels.
        side: of a window, pixels.
        overlap: share of a window's side, in [0, 1); whole pixels, rounded up, and at most `side` - 1.

    Returns:
        First pixels, rising. One alone, of which the picture lies in the middle, where it is no longer than a window.
    """
    if length <= side:
        return [-((side - length) // 2)]
    step = max(1, math.floor(side * (1 - overlap)))
    count = math.ceil((length - side) / step) + 1
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def segment(
    image: np.ndarray, resize: Resize, size: Size, overlap: float, scores: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Classes of a picture's pixels: each has the mean of the windows' probabilities, softmax of their scores.

    Args:
        image: (h, w, 3) uint8 RGB.
        resize: draws the windows; what lies beyond the picture is filled as its letterbox is.
        size: (height, width) of a window, pixels.
        overlap: share of a window's side that neighbours overlap by at least, in [0, 1).
        scores: a window, (H, W, 3) uint8 -> (H, W, K) float32, finite.

    Returns:
        (h, w) uint8; the lower class where two are equal.

    Raises:
        TooLarge: the probabilities of a row of windows take more than `MAX_BYTES`.
    """
    height, width = image.shape[:2]
    rows = starts(height, size[0], overlap)
    classes = np.empty((height, width), np.uint8)
    total: np.ndarray | None = None  # of the picture's rows from `top` on that the present windows reach
    top = 0
    for y, bottom in zip(rows, [*rows[1:], height]):
        for x in starts(width, size[1], overlap):
            canvas, _ = resize.fit(image, (float(x), float(y), float(x + size[1]), float(y + size[0])), size)
            made = np.ascontiguousarray(scores(canvas), np.float32)
            if total is None:
                total = _zeros(min(height, size[0]), width, made.shape[2])
            add_softmax(made, total, y - top, x)
        assert total is not None
        # A sum serves as well as the mean: all classes of a pixel were added equally often.
        done, left = bottom - top, len(total) - (bottom - top)
        classes[top:bottom] = total[:done].argmax(axis=2)
        total[:left] = total[done:]
        total[left:] = 0
        top = bottom
    return classes


def _zeros(height: int, width: int, classes: int) -> np.ndarray:
    if 4 * height * width * classes > MAX_BYTES:
        raise TooLarge(
            f"Expected a picture whose rows' probabilities, {height} rows at a time, take at most {MAX_BYTES} bytes, but got "
            f"{width} px a row and {classes} classes. Cure: cut the picture, or scale it down."
        )
    return np.zeros((height, width, classes), np.float32)
