"""A segmenter's results on whole pictures, and the figures that they give."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bnn_tasks.data.segmentation.batch import SegmentationTarget
from bnn_tasks.metrics.boundary import boundary_f
from bnn_tasks.metrics.segmentation import SegmentationConfusion, confusion, mean_of_numbers


@dataclass  # not frozen: Lightning moves what predict_step returns to the CPU, field by field
class ImageSegmentation:
    """The classes of one picture's own pixels.

    Attributes:
        target: the picture and its true mask.
        classes: (h, w) uint8 in [0, K), as large as the picture.
    """

    target: SegmentationTarget
    classes: np.ndarray


@dataclass(frozen=True)
class PictureScores:
    """What the figures of a data set need of one picture.

    Attributes:
        file_name: of the picture.
        loss: NaN where the picture is all void.
        cells: (E,) int64, the flat places of the picture's confusion matrix that are not 0; with many classes they are few.
        counts: (E,) int64, pixels in them.
        boundary_f: (K,) float64, see `bnn_tasks.metrics.boundary.boundary_f`.
    """

    file_name: str
    loss: float
    cells: np.ndarray
    counts: np.ndarray
    boundary_f: np.ndarray


def score_picture(image: ImageSegmentation, loss: float, num_classes: int) -> PictureScores:
    """Judge one picture.

    Args:
        image: the prediction and its target.
        loss: of this picture.
        num_classes: K, 1 … 255.

    Raises:
        ValueError: the true mask has a value that is no class; the message names the picture.
    """
    truth = image.target.mask.cpu().numpy()
    try:
        matrix = confusion(image.classes, truth, num_classes).ravel()
    except ValueError as error:
        raise ValueError(f"{image.target.file_name}: {error}") from error
    cells = np.flatnonzero(matrix)
    outline = boundary_f(image.classes, truth, num_classes)
    return PictureScores(image.target.file_name, loss, cells, matrix[cells], outline)


def total_confusion(pictures: Sequence[PictureScores], num_classes: int) -> SegmentationConfusion:
    """The one confusion matrix of a set.

    Args:
        pictures: each once, in any order.
        num_classes: K, 1 … 255.
    """
    total = SegmentationConfusion(num_classes)
    for picture in pictures:
        total.matrix.reshape(-1)[picture.cells] += picture.counts
    return total


def segmentation_metrics(
    pictures: Sequence[PictureScores], total: SegmentationConfusion, classes: list[str]
) -> dict[str, float]:
    """All figures by name; in what order the pictures come makes no difference, bit by bit.

    ``loss``, the mean over the pictures that are not all void; ``miou``, ``pixel_accuracy``, ``mean_accuracy``, ``fw_iou`` and
    ``iou/CLASS`` of the set's one confusion matrix, NaN for a class that neither truth nor prediction has; ``boundary_f``, the
    mean over pictures of a picture's mean over classes, and ``boundary_f/CLASS``, the mean over the pictures that have an
    outline of the class.

    Args:
        pictures: each once.
        total: their confusion matrix.
        classes: the K class names.
    """
    outlines = np.array([picture.boundary_f for picture in pictures]).reshape(-1, len(classes))
    values = {
        "loss": _mean([picture.loss for picture in pictures]),
        "miou": total.miou,
        "pixel_accuracy": total.pixel_accuracy,
        "mean_accuracy": total.mean_accuracy,
        "fw_iou": total.frequency_weighted_iou,
        "boundary_f": _mean([mean_of_numbers(row) for row in outlines]),
    }
    values |= {f"iou/{name}": float(value) for name, value in zip(classes, total.iou)}
    return values | {f"boundary_f/{name}": _mean(row.tolist()) for name, row in zip(classes, outlines.T)}


def _mean(values: list[float]) -> float:
    """Mean of what is not NaN, the same bits in every order; NaN of nothing."""
    numbers = [value for value in values if not math.isnan(value)]
    return math.fsum(numbers) / len(numbers) if numbers else math.nan
