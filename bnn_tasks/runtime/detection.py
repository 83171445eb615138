"""From a detector's raw maps to boxes: anchors, box decoding, suppression. Maps are [H, W, C] float32."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bnn_tasks.runtime.ops.elementwise import sigmoid
from bnn_tasks.runtime.suppression import suppress

MARGIN = 2.0  # a rounded sigmoid near 1 can pass a threshold whose logit is that of a value up to 3 times as far from 1


@dataclass(frozen=True)
class Detections:
    """What was found in one image, by falling score.

    Attributes:
        boxes: (n, 4) float32 xyxy, pixels.
        scores: (n,) float32 in [0, 1].
        labels: (n,) int64 in [0, classes).
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)


def anchors(sizes: Sequence[tuple[int, int]], strides: Sequence[tuple[float, float]], base: np.ndarray) -> np.ndarray:
    """Anchors of all levels: base[l, a] moved to ((x + ½)·sx, (y + ½)·sy), in the order level, y, x, a.

    Args:
        sizes: (height, width) of each level's map, cells.
        strides: (sy, sx) of each level, canvas pixels a cell.
        base: (levels, A, 4) float32 xyxy around 0, canvas pixels.

    Returns:
        (Σ height·width·A, 4) float32 xyxy, canvas pixels, unclipped.
    """
    levels = []
    for (height, width), (sy, sx), boxes in zip(sizes, strides, base, strict=True):
        cy = ((np.arange(height) + 0.5) * sy).astype(np.float32)[:, None, None]
        cx = ((np.arange(width) + 0.5) * sx).astype(np.float32)[None, :, None]
        level = np.empty((height, width, len(boxes), 4), np.float32)
        level[..., 0::2] = boxes[:, 0::2] + cx[..., None]
        level[..., 1::2] = boxes[:, 1::2] + cy[..., None]
        levels.append(level.reshape(-1, 4))
    return np.concatenate(levels)


def decode_boxes(
    anchors: np.ndarray, deltas: Sequence[np.ndarray], weights: Sequence[float], clip: float
) -> np.ndarray:
    """Boxes from anchors and predicted deltas, in the coding of Faster R-CNN (Ren et al., 2015, eq. 2).

    centre = delta_xy / w_xy · size + centre of anchor;  size = exp(min(delta_wh / w_wh, clip)) · size of anchor.

    Args:
        anchors: (M, 4) xyxy.
        deltas: one map for each level, (H, W, A·4), channel a·4 + j with j over x, y, w, h; M cells·A in all.
        weights: (wx, wy, ww, wh), above 0.
        clip: largest log of a growth in size; torchvision's is log(1000 / 16).

    Returns:
        (M, 4) float32 xyxy, unclipped.
    """
    # One row a coordinate: numpy is slow on rows of two.
    x, y, w, h = np.concatenate([level.reshape(-1, 4) for level in deltas]).T / np.asarray(weights, np.float32)[:, None]
    x0, y0, x1, y1 = np.ascontiguousarray(anchors.T)
    boxes = np.empty((4, len(anchors)), np.float32)
    for axis, (shift, growth, low, high) in enumerate(((x, w, x0, x1), (y, h, y0, y1))):
        size = high - low
        centre = shift * size + (low + np.float32(0.5) * size)
        half = np.float32(0.5) * (np.exp(np.minimum(growth, np.float32(clip))) * size)
        boxes[axis], boxes[axis + 2] = centre - half, centre + half
    return np.ascontiguousarray(boxes.T)


def nms(
    boxes: np.ndarray,
    logits: Sequence[np.ndarray],
    num_classes: int,
    score_threshold: float,
    top_k: int,
    iou_threshold: float,
    max_detections: int,
    canvas: tuple[int, int],
) -> Detections:
    """Score, select and suppress, as torchvision's RetinaNet.postprocess_detections; ties go to the lower index.

    A box that has no area within the canvas is no candidate.

    Args:
        boxes: (M, 4) float32 xyxy, canvas pixels, in the order level, y, x, a.
        logits: one map for each level, (H, W, A·num_classes), channel a·num_classes + k.
        num_classes: K >= 1.
        score_threshold: a sigmoid score must be above it.
        top_k: candidates a level keeps.
        iou_threshold: a box goes where its IoU with a better box of its class is above it.
        max_detections: boxes kept in the image.
        canvas: (height, width) that boxes are clipped to, pixels.

    Returns:
        At most `max_detections` detections in canvas pixels.
    """
    levels: list[Detections] = []
    first = 0
    # Few logits are worth a sigmoid; those near the threshold get one, so that it decides.
    with np.errstate(divide="ignore"):
        low = np.log(score_threshold) - np.log1p(-score_threshold) - MARGIN
    for level in logits:
        flat = level.reshape(-1)
        index = np.flatnonzero(flat > np.float32(low))
        score = sigmoid(flat[index])
        level_boxes = boxes[first:]
        kept = (score > np.float32(score_threshold)) & _solid(level_boxes[index // num_classes], canvas)
        levels.append(_best(level_boxes, index[kept], score[kept], num_classes, top_k))
        first += flat.size // num_classes
    return _suppressed(levels, iou_threshold, max_detections, canvas)


def nms_softmax(
    boxes: np.ndarray,
    logits: Sequence[np.ndarray],
    num_classes: int,
    score_threshold: float,
    top_k: int,
    iou_threshold: float,
    max_detections: int,
    canvas: tuple[int, int],
) -> Detections:
    """As `nms`, with scores that are a softmax over the classes and a background (Faster R-CNN, SSD).

    Among the boxes without area are the rows that fill up a list of proposals.

    Args:
        boxes: (M, 4) float32 xyxy, canvas pixels, in the order level, y, x, a.
        logits: one map for each level, (H, W, A·(num_classes + 1)), channel a·(num_classes + 1) + k; the background is
            the last, k = num_classes.
        num_classes: K >= 1, without the background.
        score_threshold: a score must be above it.
        top_k: candidates a level keeps.
        iou_threshold: a box goes where its IoU with a better box of its class is above it.
        max_detections: boxes kept in the image.
        canvas: (height, width) that boxes are clipped to, pixels.

    Returns:
        At most `max_detections` detections in canvas pixels.
    """
    levels: list[Detections] = []
    solid, first = _solid(boxes, canvas), 0
    for level in logits:
        rows = level.reshape(-1, num_classes + 1)
        with np.errstate(over="ignore"):  # exp(-inf) is 0, as it should be
            powers = np.exp(rows - rows.max(axis=1, keepdims=True))
        scores = (powers / powers.sum(axis=1, keepdims=True))[:, :-1]
        last = first + len(scores)
        index = np.flatnonzero((scores > np.float32(score_threshold)) & solid[first:last, None])
        levels.append(_best(boxes[first:last], index, scores.reshape(-1)[index], num_classes, top_k))
        first = last
    return _suppressed(levels, iou_threshold, max_detections, canvas)


def clip(boxes: np.ndarray, canvas: tuple[int, int]) -> np.ndarray:
    """Boxes (n, 4) xyxy within a canvas of (height, width), pixels."""
    height, width = canvas
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float32))


def _solid(boxes: np.ndarray, canvas: tuple[int, int]) -> np.ndarray:
    """Which boxes have an area within the canvas, (n,) bool."""
    within = clip(boxes, canvas)
    return (within[:, 2] > within[:, 0]) & (within[:, 3] > within[:, 1])


def _best(boxes: np.ndarray, index: np.ndarray, score: np.ndarray, num_classes: int, top_k: int) -> Detections:
    """The `top_k` best candidates of a level, `index` being box · num_classes + class; ties go to the lower index."""
    order = np.argsort(-score, kind="stable")[:top_k]
    index = index[order]
    return Detections(boxes[index // num_classes], score[order], index % num_classes)


def _suppressed(
    levels: Sequence[Detections], iou_threshold: float, max_detections: int, canvas: tuple[int, int]
) -> Detections:
    """What suppression within a class leaves of all levels' candidates, by falling score; ties go to the lower level."""
    scores = np.concatenate([level.scores for level in levels])
    order = np.argsort(-scores, kind="stable")
    boxes = clip(np.concatenate([level.boxes for level in levels])[order], canvas)
    labels = np.concatenate([level.labels for level in levels])[order]
    with np.errstate(invalid="ignore"):  # 0 / 0, two boxes so small that their areas are 0 in float32
        keep = suppress(boxes, labels, float(iou_threshold), max_detections)
    return Detections(boxes[keep], scores[order][keep], labels[keep])
