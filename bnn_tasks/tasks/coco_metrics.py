"""COCO's average precision and recall, by pycocotools itself."""

import contextlib
import io
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

# Names of COCOeval.stats, in its order.
STATS = ["ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"]
STATS += ["ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"]
# Detections of one class that count in one image, those of the highest scores: COCO's rule, the last for AP.
MOST_DETECTIONS = [1, 10, 100]


def coco_metrics(ground_truth: dict[str, Any], detections: list[dict[str, Any]]) -> dict[str, float]:
    """COCO's twelve figures, and AP and AP50 of every class.

    AP is the mean over classes, IoU thresholds 0.50, 0.55, …, 0.95 and recalls 0, 0.01, …, 1 of the interpolated precision
    (Lin et al., Microsoft COCO, 2014, and pycocotools 2.0). Per class and image at most 100 detections count. Small objects
    have an ``area`` of at most 32² square pixels of the original image, medium ones of 32² to 96², large ones of at least 96².

    Args:
        ground_truth: content of a COCO annotation file.
        detections: rows of a COCO results file, on images of `ground_truth`; equal scores keep their order.

    Returns:
        ``ap``, ``ap50``, ``ap75``, ``ap_small``, ``ap_medium``, ``ap_large``; ``ar1``, ``ar10``, ``ar100``, ``ar_small``,
        ``ar_medium``, ``ar_large``; ``ap/CLASS`` and ``ap50/CLASS``. Each in [0, 1], or, where the set has no such object, as
        pycocotools -1, and for a class NaN; a class without objects is left out of the means.
    """
    # pycocotools reports its progress on stdout, and writes into the entries that it is given.
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _index(ground_truth, [dict(entry) for entry in ground_truth["annotations"]])
        found = _index(ground_truth, [_result(number, row) for number, row in enumerate(detections, 1)])
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.params.maxDets = MOST_DETECTIONS
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    values = dict(zip(STATS, evaluation.stats.tolist(), strict=True))
    # IoU thresholds × recalls × classes; the areas' first is all, the most detections' last is 100.
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    position = {id_: k for k, id_ in enumerate(evaluation.params.catIds)}
    for category in ground_truth["categories"]:
        of_class = precision[:, :, position[category["id"]]]
        values[f"ap/{category['name']}"] = _mean(of_class)
        values[f"ap50/{category['name']}"] = _mean(of_class[0])
    return values


def _index(ground_truth: dict[str, Any], annotations: list[dict[str, Any]]) -> COCO:
    coco = COCO()
    coco.dataset = {**ground_truth, "annotations": annotations}
    coco.createIndex()
    return coco


def _result(number: int, row: dict[str, Any]) -> dict[str, Any]:
    """What COCO.loadRes makes of a row; it refuses an empty list, and detecting nothing is legal."""
    return {**row, "id": number, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0}


def _mean(precision: np.ndarray) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")
