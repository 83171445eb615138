"""Which class a detector takes for which, what it misses and what it makes up, in numpy alone."""

from collections.abc import Iterable

import numpy as np

from bnn_tasks.metrics.boxes import check_scores, checked_boxes, overlaps
from bnn_tasks.metrics.truth import ImageTruth
from bnn_tasks.metrics.voc import Detected


def detection_confusion(
    images: Iterable[tuple[Detected, ImageTruth]], num_classes: int, score_threshold: float = 0.3, iou: float = 0.5
) -> np.ndarray:
    """Count pairs of true and detected class; the last row and column are the background.

    By falling score, whatever the classes, each detection takes the free object with the highest IoU, at least the threshold,
    and is counted in the row of the object's class. A detection without such an object does not count where it lies on a
    difficult object or (by the share of its own area) in a crowd; elsewhere it is made up: row background. An object that
    stays free is missed: column background. Equal scores keep their order; of equal IoUs the earlier object is taken.

    Args:
        images: detections and objects, an entry an image.
        num_classes: K >= 1.
        score_threshold: detections below do not count, in [0, 1].
        iou: threshold, 0 < iou <= 1.

    Returns:
        (K + 1, K + 1) int64; row: true class, column: detected class; the last cell is 0.

    Raises:
        ValueError: a value out of its range, shapes that do not fit, a box or score that is not finite.
    """
    if num_classes < 1:
        raise ValueError(f"Expected `num_classes` to be >= 1, but got {num_classes}.")
    if not 0 <= score_threshold <= 1 or not 0 < iou <= 1:
        raise ValueError(f"Expected `score_threshold` in [0, 1] and `iou` in (0, 1], but got {score_threshold}, {iou}.")
    counts = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    for detected, truth in images:
        boxes, labels = checked_boxes("boxes", detected.boxes, "labels", detected.labels, num_classes)
        true_boxes, true_labels = checked_boxes("true boxes", truth.boxes, "true labels", truth.labels, num_classes)
        check_scores(detected.scores, len(labels))
        order = np.argsort(-detected.scores, kind="stable")
        order = order[detected.scores[order] >= score_threshold]
        ignored = truth.difficult | truth.crowd
        free = ~ignored
        # A column more, which nothing overlaps, so that there is always a best object.
        table = np.pad(overlaps(boxes[order], true_boxes, truth.crowd), ((0, 0), (0, 1)))
        for row, label in zip(table, labels[order]):
            best = np.where(np.append(free, True), row, -1.0).argmax()
            if row[best] >= iou:
                free[best] = False
                counts[true_labels[best], label] += 1
            elif not (row[:-1][ignored] >= iou).any():
                counts[-1, label] += 1
        np.add.at(counts[:, -1], true_labels[free], 1)
    return counts
