"""One number for how well a net does, whatever its task."""

import math
from collections.abc import Iterable
from functools import singledispatch
from typing import Any

import torch

from bnn_tasks.tasks.base import Task
from bnn_tasks.tasks.classification import ClassificationTask
from bnn_tasks.tasks.detection import DetectionTask
from bnn_tasks.tasks.robustness.detection_figures import count_detections, detect, detection_figures
from bnn_tasks.tasks.robustness.segmentation_figures import score_segmentation, segmentation_figures
from bnn_tasks.tasks.segmentation import SegmentationTask


@singledispatch
def performance(task: Task, batches: Iterable[Any]) -> dict[str, float]:
    """The figures of a task, the first of which is what robustness is measured by: top-1, COCO's AP, or mIoU.

    A detector's ``found``, ``mislabelled``, ``missed`` and ``made_up`` are `DetectionCounts` per object.

    Args:
        task: in eval mode.
        batches: of its data module.

    Raises:
        TypeError: the task is of another kind.
    """
    raise TypeError(
        f"Expected a task of classification, detection or segmentation, but got a {type(task).__name__}. "
        "Cure: a checkpoint of one of these."
    )


@performance.register
@torch.no_grad()
def _(task: ClassificationTask, batches: Iterable[Any]) -> dict[str, float]:
    right = count = 0
    for batch in batches:
        for image in task.predict_step(batch, 0)["classifications"]:
            right, count = right + (image.predicted == image.label), count + 1
    return {"top1": right / count}


@performance.register
def _(task: DetectionTask, batches: Iterable[Any]) -> dict[str, float]:
    images = detect(task, batches)
    figures = detection_figures(images, task.classes)
    names = ("ap", "ap50", "ap_small", "ap_medium", "ap_large")
    counts = count_detections(images, task.classes)
    objects = counts.true_positives + counts.mislabelled + counts.missed
    became = {"found": counts.true_positives, "mislabelled": counts.mislabelled, "missed": counts.missed}
    shares = {
        name: count / objects if objects else math.nan for name, count in {**became, "made_up": counts.made_up}.items()
    }
    # COCO's -1: there is no such object.
    return {name: figures[name] if figures[name] >= 0 else math.nan for name in names} | shares


@performance.register
def _(task: SegmentationTask, batches: Iterable[Any]) -> dict[str, float]:
    figures = segmentation_figures(score_segmentation(task, batches), len(task.classes))
    return {name: figures[name] for name in ("miou", "pixel_accuracy", "image_miou")}
