"""What boxes, labels and scores must be, and how far boxes overlap, in numpy alone."""

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


def checked_boxes(
    boxes_name: str, boxes: np.ndarray, labels_name: str, labels: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes as float64 and labels as int64.

    Args:
        boxes_name: in messages.
        boxes: (N, 4) xyxy, finite.
        labels_name: in messages.
        labels: (N,) integers in 0..K-1.
        num_classes: K, at least 1.

    Raises:
        ValueError: they are not.
    """
    boxes, labels = np.asarray(boxes, np.float64), np.asarray(labels)
    if labels.ndim != 1 or (len(labels) and not np.issubdtype(labels.dtype, np.integer)):
        raise ValueError(f"Expected `{labels_name}` to be a row of integers, but got {labels.dtype} {labels.shape}")
    if boxes.shape != (len(labels), 4) or not np.isfinite(boxes).all():
        raise ValueError(f"Expected `{boxes_name}` to be ({len(labels)}, 4), finite, but got {boxes}")
    if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(f"Expected `{labels_name}` to be in 0..{num_classes - 1}, but got {labels}")
    return boxes, labels.astype(np.int64)


def check_scores(scores: np.ndarray, count: int) -> None:
    """Raise ValueError unless scores are `count` finite numbers.

    Args:
        scores: (N,).
        count: N >= 0.
    """
    if np.shape(scores) != (count,) or not np.isfinite(scores).all():
        raise ValueError(f"Expected `scores` to be {count} finite numbers, but got {scores}")
