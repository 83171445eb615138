"""How well a net does, whatever its task: batches are judged picture by picture, and pictures make figures."""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import singledispatch
from typing import Any

import numpy as np
import torch

from bnn_tasks.tasks.base import Task
from bnn_tasks.tasks.classification import ClassificationTask
from bnn_tasks.tasks.detection import DetectionTask
from bnn_tasks.tasks.robustness.detection_figures import count_detections, detect, detection_figures
from bnn_tasks.tasks.robustness.segmentation_figures import score_segmentation, segmentation_figures, worst_pictures
from bnn_tasks.tasks.segmentation import SegmentationTask
from bnn_tasks.tasks.segmentation_metrics import PictureScores


@singledispatch
def judge(task: Task, batches: Iterable[Any]) -> list[Any]:
    """What `figures` needs of every picture.

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


@judge.register
@torch.no_grad()
def _(task: ClassificationTask, batches: Iterable[Any]) -> list[Any]:
    return [image for batch in batches for image in task.predict_step(batch, 0)["classifications"]]


judge.register(DetectionTask, detect)
judge.register(SegmentationTask, score_segmentation)


@singledispatch
def figures(task: Task, pictures: Sequence[Any]) -> dict[str, float]:
    """The figures of a task, the first of which is what robustness is measured by: top-1, COCO's AP, or mIoU.

    A detector's ``found``, ``mislabelled``, ``missed`` and ``made_up`` are `DetectionCounts` per object.

    Args:
        task: that was judged.
        pictures: what `judge` gave.
    """
    raise NotImplementedError


@figures.register
def _(task: ClassificationTask, pictures: Sequence[Any]) -> dict[str, float]:
    return {"top1": sum(image.predicted == image.label for image in pictures) / len(pictures)}


@figures.register
def _(task: DetectionTask, pictures: Sequence[Any]) -> dict[str, float]:
    found = detection_figures(pictures, task.classes)
    names = ("ap", "ap50", "ap_small", "ap_medium", "ap_large")
    counts = count_detections(pictures, task.classes)
    objects = counts.true_positives + counts.mislabelled + counts.missed
    became = {"found": counts.true_positives, "mislabelled": counts.mislabelled, "missed": counts.missed}
    shares = {
        name: count / objects if objects else math.nan for name, count in {**became, "made_up": counts.made_up}.items()
    }
    # COCO's -1: there is no such object.
    return {name: found[name] if found[name] >= 0 else math.nan for name in names} | shares


@figures.register
def _(task: SegmentationTask, pictures: Sequence[Any]) -> dict[str, float]:
    found = segmentation_figures(pictures, len(task.classes))
    return {name: found[name] for name in ("miou", "pixel_accuracy", "image_miou")}


@singledispatch
def compared(task: Task, pictures: Sequence[Any]) -> list[dict[str, Any]]:
    """What `worst_case` compares of every picture, in tensors, numbers and text, as a file can keep it.

    Args:
        task: that was judged.
        pictures: what `judge` gave.
    """
    return []


@compared.register
def _(task: SegmentationTask, pictures: Sequence[Any]) -> list[dict[str, Any]]:
    def plain(value: Any) -> Any:
        return torch.from_numpy(value) if isinstance(value, np.ndarray) else value

    return [{name: plain(value) for name, value in vars(picture).items()} for picture in pictures]


@singledispatch
def worst_case(task: Task, attacks: Mapping[str, Sequence[dict[str, Any]]]) -> list[Any] | None:
    """Of every picture the attack that hurt it most, for `figures`; None where a figure is the set's alone, as AP is.

    Args:
        task: that was attacked.
        attacks: by name, what `compared` gave of the same pictures.
    """
    return None


@worst_case.register
def _(task: SegmentationTask, attacks: Mapping[str, Sequence[dict[str, Any]]]) -> list[Any] | None:
    def scores(plain: dict[str, Any]) -> PictureScores:
        arrays = {name: value.numpy(force=True) for name, value in plain.items() if isinstance(value, torch.Tensor)}
        return PictureScores(**plain | arrays)

    judged = {name: [scores(picture) for picture in pictures] for name, pictures in attacks.items()}
    return worst_pictures(judged, len(task.classes))[0]
