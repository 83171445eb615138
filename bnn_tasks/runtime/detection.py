"""From a detector's raw maps to boxes: anchors, box decoding, suppression. Maps are [H, W, C] float32."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bnn_tasks.runtime.ops.elementwise import sigmoid
from bnn_tasks.runtime.suppression import suppress


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
    delta = np.concatenate([level.reshape(-1, 4) for level in deltas]) / np.asarray(weights, np.float32)
    size = anchors[:, 2:] - anchors[:, :2]
    centre = anchors[:, :2] + np.float32(0.5) * size
    centre = delta[:, :2] * size + centre
    half = np.float32(0.5) * (np.exp(np.minimum(delta[:, 2:], np.float32(clip))) * size)
    return np.concatenate([centre - half, centre + half], axis=1)


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
    candidates: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    first = 0
    for level in logits:
        score = sigmoid(level.reshape(-1))
        index = np.flatnonzero(score > np.float32(score_threshold))
        index = index[np.argsort(-score[index], kind="stable")[:top_k]]
        candidates.append(boxes[first + index // num_classes])
        scores.append(score[index])
        labels.append(index % num_classes)
        first += score.size // num_classes
    height, width = canvas
    best = np.concatenate(scores)
    order = np.argsort(-best, kind="stable")
    box = np.clip(np.concatenate(candidates)[order], 0, np.array([width, height, width, height], np.float32))
    label = np.concatenate(labels)[order]
    with np.errstate(invalid="ignore"):  # 0 / 0, two boxes without area
        keep = suppress(box, label, float(iou_threshold), max_detections)
    return Detections(box[keep], best[order][keep], label[keep])
