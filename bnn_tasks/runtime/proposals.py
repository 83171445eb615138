"""Where a two-stage detector looks twice: the best boxes of a region proposal network (Ren et al., 2015)."""

from collections.abc import Sequence

import numpy as np

from bnn_tasks.runtime import detection
from bnn_tasks.runtime.suppression import suppress


def propose(
    anchors: np.ndarray,
    logits: Sequence[np.ndarray],
    deltas: Sequence[np.ndarray],
    weights: Sequence[float],
    clip: float,
    top_k: int,
    iou_threshold: float,
    min_size: float,
    max_proposals: int,
    canvas: tuple[int, int],
) -> np.ndarray:
    """Proposals by falling logit, as torchvision's RegionProposalNetwork.filter_proposals; ties go to the lower index.

    Args:
        anchors: (M, 4) float32 xyxy, canvas pixels, in the order level, y, x, a.
        logits: objectness, one map for each level, (H, W, A).
        deltas: one map for each level, (H, W, A·4), as of `decode_boxes`.
        weights: as of `decode_boxes`.
        clip: as of `decode_boxes`.
        top_k: boxes a level keeps, before any is dropped.
        iou_threshold: a box goes where its IoU with a better box of its level is above it.
        min_size: a box goes where a side, clipped to the canvas, is below it, pixels.
        max_proposals: R, rows of the result.
        canvas: (height, width) that boxes are clipped to, pixels.

    Returns:
        (R, 4) float32 xyxy, canvas pixels; rows of zeros where there are fewer.
    """
    chosen = [largest(level.reshape(-1), top_k) for level in logits]
    starts = np.cumsum([0, *(level.size for level in logits)])
    index = np.concatenate([start + rows for start, rows in zip(starts, chosen)])
    moves = [level.reshape(-1, 4)[rows] for level, rows in zip(deltas, chosen, strict=True)]
    boxes = detection.clip(detection.decode_boxes(anchors[index], moves, weights, clip), canvas)
    scores = np.concatenate([level.reshape(-1)[rows] for level, rows in zip(logits, chosen, strict=True)])
    number = np.repeat(np.arange(len(chosen)), [len(rows) for rows in chosen])
    sides = boxes[:, 2:] - boxes[:, :2]
    order = np.argsort(-scores, kind="stable")
    order = order[(sides[order] >= np.float32(min_size)).all(axis=1)]
    with np.errstate(invalid="ignore"):  # 0 / 0, two boxes without area
        keep = suppress(boxes[order], number[order], float(iou_threshold), max_proposals)
    proposals = np.zeros((max_proposals, 4), np.float32)
    proposals[: len(keep)] = boxes[order[keep]]
    return proposals


def largest(values: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` largest values (n), by falling value, ties by rising index; all where there are no more."""
    index = np.arange(len(values))
    if count < len(values):  # few are worth sorting
        index = np.flatnonzero(values >= np.partition(values, -count)[-count])
    return index[np.argsort(-values[index], kind="stable")[:count]]
