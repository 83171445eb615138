"""Greedy suppression of overlapping boxes: the one loop of a network whose steps wait for each other."""

import numpy as np

from bnn_tasks.runtime.jit import kernel


@kernel()
def suppress(boxes: np.ndarray, labels: np.ndarray, iou_threshold: float, limit: int) -> np.ndarray:
    """Indices of the first `limit` boxes that no better box of their label suppresses.

    A box goes where its IoU = intersection / union with a survivor is above the threshold; two boxes without area have IoU
    nan and stay. A box is held against all survivors at once, in expressions that numba makes
    one loop of each and that are quick in plain Python too.

    Args:
        boxes: float32 (N, 4) xyxy by falling score.
        labels: (N,).
        iou_threshold: the float32 IoU is compared with it in float64, as in torchvision.
        limit: most survivors.

    Returns:
        Int64, rising.
    """
    threshold = np.float64(iou_threshold)  # a Python float would be rounded to float32 by numpy, and not by numba
    zero = np.float32(0)
    keep = np.empty(min(limit, len(boxes)), np.int64)
    kept, kept_area = np.empty((4, len(keep)), np.float32), np.empty(len(keep), np.float32)
    left, top, right, bottom = kept[0], kept[1], kept[2], kept[3]
    kept_labels = np.empty(len(keep), np.int64)
    found = 0
    for n in range(len(boxes)):
        if found == len(keep):
            break
        x0, y0, x1, y1 = boxes[n, 0], boxes[n, 1], boxes[n, 2], boxes[n, 3]
        area = (x1 - x0) * (y1 - y0)
        shared = np.maximum(np.minimum(right[:found], x1) - np.maximum(left[:found], x0), zero) * np.maximum(
            np.minimum(bottom[:found], y1) - np.maximum(top[:found], y0), zero
        )
        if not np.any((shared / (kept_area[:found] + area - shared) > threshold) & (kept_labels[:found] == labels[n])):
            keep[found], kept_labels[found], kept_area[found] = n, labels[n], area
            left[found], top[found], right[found], bottom[found] = x0, y0, x1, y1
            found += 1
    return keep[:found]
