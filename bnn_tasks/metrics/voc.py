"""Average precision of detections as PASCAL VOC defines it, in numpy alone."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bnn_tasks.metrics.boxes import check_scores, checked_boxes, overlaps


class Detected(NamedTuple):
    """One image's detections.

    Attributes:
        boxes: (N, 4) xyxy, pixels.
        scores: (N,), higher is surer.
        labels: (N,) integers in 0..K-1.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class VOCResult:
    """Average precision; higher is better.

    Attributes:
        ap: (K,) in [0, 1], area under the precision envelope (VOC 2010 and later); NaN for a class without
            non-difficult objects.
        ap11: (K,) in [0, 1], mean precision at the recalls 0, 0.1, ..., 1 (VOC 2007); NaN likewise.
        mean: mean of ``ap`` over the classes that have objects; NaN where none has.
        mean11: mean of ``ap11`` likewise.
        precision: per class, (D,) after each detection that counts, by falling score.
        recall: per class, (D,) likewise.
        positives: (K,) int64, non-difficult objects.
    """

    ap: np.ndarray
    ap11: np.ndarray
    mean: float
    mean11: float
    precision: list[np.ndarray]
    recall: list[np.ndarray]
    positives: np.ndarray


class VOCEvaluator:
    """Collects images one by one, then computes VOC's average precision.

    By falling score, each detection takes the true object of its class with the highest IoU. At an IoU of at least
    the threshold it is a true positive where the object is new, a false positive where it is taken, and does not
    count where the object is difficult; below it is a false positive. Equal scores keep the order of ``update``.
    Boxes are continuous: areas have no "+ 1"; ``VOCDetectionData`` gives the boxes that this is right for.

    Args:
        num_classes: K, at least 1.
        iou: threshold, 0 < iou <= 1.

    Raises:
        ValueError: a value out of its range.
    """

    def __init__(self, num_classes: int, iou: float = 0.5) -> None:
        if num_classes < 1:
            raise ValueError(f"Expected `num_classes` to be at least 1, but got {num_classes}")
        if not 0 < iou <= 1:
            raise ValueError(f"Expected `iou` to be in (0, 1], but got {iou}")
        self.num_classes = num_classes
        self.iou = iou
        self._scores: list[list[np.ndarray]] = [[] for _ in range(num_classes)]
        self._hits: list[list[np.ndarray]] = [[] for _ in range(num_classes)]
        self._positives = np.zeros(num_classes, np.int64)

    def update(
        self,
        boxes: np.ndarray,
        scores: np.ndarray,
        labels: np.ndarray,
        gt_boxes: np.ndarray,
        gt_labels: np.ndarray,
        gt_difficult: np.ndarray,
    ) -> None:
        """Add one image.

        Args:
            boxes: (N, 4) xyxy, pixels.
            scores: (N,), finite.
            labels: (N,) integers in 0..K-1.
            gt_boxes: (M, 4) xyxy, pixels.
            gt_labels: (M,) integers in 0..K-1.
            gt_difficult: (M,) bool.

        Raises:
            ValueError: shapes that do not fit, a label out of range, a box or score that is not finite.
        """
        boxes, labels = checked_boxes("boxes", boxes, "labels", labels, self.num_classes)
        gt_boxes, gt_labels = checked_boxes("gt_boxes", gt_boxes, "gt_labels", gt_labels, self.num_classes)
        check_scores(scores, len(labels))
        scores, difficult = np.asarray(scores, np.float64), np.asarray(gt_difficult, bool)
        if difficult.shape != gt_labels.shape:
            raise ValueError(f"Expected `gt_difficult` to be of shape {gt_labels.shape}, but got {difficult.shape}")
        self._positives += np.bincount(gt_labels[~difficult], minlength=self.num_classes)
        for label in np.unique(labels):
            mine, true = labels == label, gt_labels == label
            # Matching never crosses images, so each image is matched on its own, by falling score.
            order = np.argsort(-scores[mine], kind="stable")
            hits = _match(overlaps(boxes[mine][order], gt_boxes[true]), difficult[true], self.iou)
            self._scores[label].append(scores[mine][order])
            self._hits[label].append(hits)

    def compute(self) -> VOCResult:
        """Return the scores over all images so far."""
        precision, recall = [], []
        ap, ap11 = np.full((2, self.num_classes), np.nan)
        for label in range(self.num_classes):
            scores = np.concatenate([*self._scores[label], np.empty(0)])
            hits = np.concatenate([*self._hits[label], np.empty(0, np.int64)])
            hits = hits[np.argsort(-scores, kind="stable")]
            hits = hits[hits != _DIFFICULT]
            found = np.cumsum(hits == _TRUE)
            precision.append(found / np.arange(1, len(hits) + 1))
            recall.append(found / max(self._positives[label], 1))
            if self._positives[label]:
                ap[label] = area_ap(precision[-1], recall[-1])
                ap11[label] = eleven_point_ap(precision[-1], recall[-1])
        known = self._positives > 0
        mean, mean11 = (float(x[known].mean()) if known.any() else float("nan") for x in (ap, ap11))
        return VOCResult(ap, ap11, mean, mean11, precision, recall, self._positives.copy())


_FALSE, _TRUE, _DIFFICULT = 0, 1, 2


def _match(iou: np.ndarray, difficult: np.ndarray, threshold: float) -> np.ndarray:
    hits = np.full(len(iou), _FALSE)
    if iou.shape[1] == 0:
        return hits
    taken = np.zeros(iou.shape[1], bool)
    best = iou.argmax(1)
    for i, j in enumerate(best):
        if iou[i, j] >= threshold:
            hits[i] = _DIFFICULT if difficult[j] else _FALSE if taken[j] else _TRUE
            taken[j] = True
    return hits


def area_ap(precision: np.ndarray, recall: np.ndarray) -> float:
    """Area under the precision envelope: Σ (r_i - r_{i-1}) · max_{j >= i} p_j.

    Args:
        precision: (D,) in [0, 1], by falling score.
        recall: (D,) in [0, 1], not falling.
    """
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * envelope).sum())


def eleven_point_ap(precision: np.ndarray, recall: np.ndarray) -> float:
    """Mean over r in {0, 0.1, ..., 1} of the highest precision at a recall of at least r, 0 where there is none.

    Args:
        precision: (D,) in [0, 1], by falling score.
        recall: (D,) in [0, 1], not falling.
    """
    points = np.arange(11) / 10  # k/10 correctly rounded, as the recall n/N is: 3/10 reaches 0.3
    return float(np.mean([precision[recall >= point].max(initial=0.0) for point in points]))
