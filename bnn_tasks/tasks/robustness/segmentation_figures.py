"""Figures of a segmenter under attack: of the set, of single pictures, and of the worst attack picture by picture."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch

from bnn_tasks.data.segmentation.batch import SegmentationBatch
from bnn_tasks.metrics.segmentation import SegmentationConfusion
from bnn_tasks.robustness.attacks.base import Attack
from bnn_tasks.tasks.robustness.canvas import Canvas
from bnn_tasks.tasks.robustness.segmentation_objectives import SegmentationObjective
from bnn_tasks.tasks.segmentation import SegmentationTask
from bnn_tasks.tasks.segmentation_metrics import PictureScores, score_picture, total_confusion


def attacked_segmentation(
    task: SegmentationTask, batches: Iterable[SegmentationBatch], attack: Attack, eps: float, generator: torch.Generator
) -> Iterator[SegmentationBatch]:
    """The batches with attacked images; masks and targets are shared with the originals.

    Args:
        task: in eval mode, on the batches' device.
        batches: of the data module.
        attack: gets a `SegmentationObjective` of cross-entropy.
        eps: radius of the ball, at the network's input size.
        generator: on the CPU.
    """
    for batch in batches:
        canvas = Canvas.of(batch.images, [target.placement for target in batch.targets])
        objective = SegmentationObjective(task.model, batch.masks, canvas)
        with task.full_precision():
            found = objective.attack(attack, eps, generator)
        yield replace(batch, images=found.images)


@torch.no_grad()
def score_segmentation(task: SegmentationTask, batches: Iterable[SegmentationBatch]) -> list[PictureScores]:
    """Every picture judged at its own pixels, as `SegmentationTask` does; the loss is left out, NaN.

    Args:
        task: in eval mode.
        batches: clean or attacked ones.
    """
    return [
        score_picture(image, math.nan, len(task.classes))
        for batch in batches
        for image in task.predict_step(batch, 0)["segmentations"]
    ]


def confusion_of(picture: PictureScores, num_classes: int) -> SegmentationConfusion:
    """One picture's confusion matrix.

    Args:
        picture: its scores.
        num_classes: K.
    """
    return total_confusion([picture], num_classes)


def image_miou(picture: PictureScores, num_classes: int) -> float:
    """Mean IoU over the classes that the picture's truth or prediction has; NaN where it is void all over.

    The set's mIoU hides small objects behind large ones, the mean of pictures' own does so less (Wang et al., Revisiting
    Evaluation Metrics for Semantic Segmentation, 2023).

    Args:
        picture: its scores.
        num_classes: K.
    """
    return confusion_of(picture, num_classes).miou


def segmentation_figures(pictures: Sequence[PictureScores], num_classes: int) -> dict[str, float]:
    """``pixel_accuracy`` and ``miou`` of the set, ``image_miou``, the mean of the pictures' own; each in [0, 1].

    Args:
        pictures: each once.
        num_classes: K.
    """
    total = total_confusion(pictures, num_classes)
    own = [value for picture in pictures if not math.isnan(value := image_miou(picture, num_classes))]
    return {
        "pixel_accuracy": total.pixel_accuracy,
        "miou": total.miou,
        "image_miou": math.fsum(own) / len(own) if own else math.nan,
    }


def worst_pictures(
    attacks: Mapping[str, Sequence[PictureScores]], num_classes: int
) -> tuple[list[PictureScores], list[str]]:
    """Of every picture the attack that left it the lowest `image_miou`, and its name; of equal ones the first.

    `segmentation_figures` of the pictures is the worst case: its ``image_miou`` is the mean over pictures of the lowest mIoU.

    Args:
        attacks: by name, the same pictures in the same order.
        num_classes: K.

    Raises:
        ValueError: there are no attacks, or they do not have the same pictures.
    """
    names = {name: [picture.file_name for picture in pictures] for name, pictures in attacks.items()}
    if not attacks or any(files != next(iter(names.values())) for files in names.values()):
        raise ValueError(
            "Expected attacks on the same pictures in the same order, but got "
            f"{ {name: len(files) for name, files in names.items()} } pictures. Cure: one loader without shuffling for all."
        )
    worst, by = [], []
    for candidates in zip(*attacks.values()):
        values = [image_miou(picture, num_classes) for picture in candidates]
        best = min(range(len(values)), key=lambda i: (math.isnan(values[i]), values[i]))
        worst.append(candidates[best])
        by.append(list(attacks)[best])
    return worst, by
