"""How far boxes overlap, in numpy alone."""

import numpy as np


def overlaps(found: np.ndarray, true: np.ndarray, crowd: np.ndarray | None = None) -> np.ndarray:
    """IoU of every detection with every object; for a crowd, intersection over the detection's area, as in COCO.

    Boxes are continuous: areas have no "+ 1".

    Args:
        found: (N, 4) float64 xyxy, pixels.
        true: (M, 4) float64 xyxy, pixels.
        crowd: (M,) bool; None is no crowd at all.

    Returns:
        (N, M) float64 in [0, 1]; 0 where neither box has an area.
    """
    low, high = np.maximum(found[:, None, :2], true[:, :2]), np.minimum(found[:, None, 2:], true[:, 2:])
    inner = (high - low).clip(0).prod(-1)
    area_found, area_true = ((boxes[:, 2:] - boxes[:, :2]).clip(0).prod(-1) for boxes in (found, true))
    union = area_found[:, None] + area_true - inner
    if crowd is not None:
        union = np.where(crowd, area_found[:, None], union)
    return inner / np.maximum(union, np.finfo(np.float64).tiny)
