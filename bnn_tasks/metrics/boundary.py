"""Boundary F-score: how well the outlines of a segmentation lie, of one picture."""

import math

import numpy as np

from bnn_tasks.metrics.segmentation import VOID, check_masks

TOLERANCE = 0.0075  # of the picture's diagonal: Csurka et al.'s


def boundary_tolerance(height: int, width: int, share: float = TOLERANCE) -> int:
    """Pixels by which an outline may be off: share · diagonal, rounded up, at least 1.

    Args:
        height: of the picture, pixels.
        width: of the picture, pixels.
        share: of the diagonal, > 0.
    """
    return max(1, math.ceil(share * math.hypot(height, width) - 1e-9))  # 1e-9: the rounding of a whole product


def boundary(mask: np.ndarray) -> np.ndarray:
    """Pixels of a class that touch, up, down, left or right, a pixel of another class; void and the picture's edge are none.

    Args:
        mask: (h, w) integers, 255 is void.

    Returns:
        (h, w) bool.
    """
    found = np.zeros(mask.shape, bool)
    judged = mask != VOID
    for before, after in (
        ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
    ):
        edge = (mask[before] != mask[after]) & judged[before] & judged[after]
        found[before] |= edge
        found[after] |= edge
    return found


def boundary_f(predicted: np.ndarray, truth: np.ndarray, num_classes: int, tolerance: int | None = None) -> np.ndarray:
    """F-score of every class's outline.

    Csurka et al., What is a good evaluation measure for semantic segmentation?, BMVC 2013:

        P = share of the predicted outline's pixels with a pixel of the true one within θ (Euclidean, ≤)
        R = share of the true outline's pixels with a pixel of the predicted one within θ
        F = 2·P·R / (P + R);   0 where P = R = 0 or one of the outlines is empty, NaN where both are

    θ is 0.75 % of the picture's diagonal. A picture's score is the mean over classes, a set's the mean over pictures; NaN is
    left out of both. Void pixels of the truth are void in the prediction too, and an outline towards void is none: of masks
    that part all objects by void, as VOC's do, little outline is left to judge.

    Args:
        predicted: (h, w) integers in [0, K); where the truth is void, anything.
        truth: (h, w) integers in [0, K), or 255 for void.
        num_classes: K, 1 … 255.
        tolerance: θ in pixels, >= 0; None is `boundary_tolerance` of the picture.

    Returns:
        (K,) float64, each in [0, 1] or NaN.

    Raises:
        ValueError: as `check_masks`.
        TypeError: as `check_masks`.
    """
    check_masks(predicted, truth, num_classes)
    reach = boundary_tolerance(*truth.shape) if tolerance is None else tolerance
    masks = [np.where(truth == VOID, VOID, mask).astype(np.uint8) for mask in (predicted, truth)]
    # The outline of a class lies on its own pixels, so one map holds the outlines of all classes.
    found, real = (np.where(boundary(mask), mask, VOID) for mask in masks)
    precision, drawn = _near(found, real, reach, num_classes)
    recall, true = _near(real, found, reach, num_classes)
    total = precision + recall
    score = np.where(total > 0, 2 * precision * recall / np.where(total > 0, total, 1), 0.0)
    return np.where((drawn == 0) & (true == 0), np.nan, score)


def _near(own: np.ndarray, other: np.ndarray, reach: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """By class, the share of one outline's pixels that are near the other's, 0 of none, and their number.

    Pixels are numbered by class, row and column, with room between rows and between classes, so that those of a class within
    θ in a row dy away are the numbers in an interval of 2·⌊√(θ² - dy²)⌋ + 1: one search among sorted numbers for every dy.
    """
    height, width = own.shape
    margin, rows = min(reach, width - 1), min(reach, height - 1)
    stride = width + margin
    area = (height + 2 * rows) * stride

    def numbers(outlines: np.ndarray) -> np.ndarray:
        places = np.flatnonzero(outlines != VOID)
        labels = outlines.ravel()[places]
        order = np.argsort(labels, kind="stable")
        y, x = np.divmod(places[order], width)
        return labels[order] * np.int64(area) + (y + rows) * stride + x

    pixels = numbers(own)
    others = np.append(numbers(other), np.iinfo(np.int64).max)
    count = np.bincount(pixels // area, minlength=num_classes)
    # The nearest rows first: what they settle need not be looked at again.
    for dy in sorted(range(-rows, rows + 1), key=abs):
        dx = min(math.isqrt(reach**2 - dy**2), margin)
        first = pixels + (dy * stride - dx)
        pixels = pixels[others[np.searchsorted(others, first)] > first + 2 * dx]
    missed = np.bincount(pixels // area, minlength=num_classes)
    return (count - missed) / np.maximum(count, 1), count
