"""A trained net beside its artifact on real images: accuracy, parity, size, time."""

import os

import torch

from bnn_tasks.compare.classification import ClassificationComparison, compare_classifiers
from bnn_tasks.compare.detection import DetectionComparison, compare_detectors, unmatched
from bnn_tasks.compare.segmentation import SegmentationComparison, compare_segmenters
from bnn_tasks.data import ClassificationData, DetectionData, ImageData, SegmentationData
from bnn_tasks.export.trace import GraphWriter
from bnn_tasks.runtime import Session
from bnn_tasks.tasks import ClassificationTask, DetectionTask, SegmentationTask
from bnn_tasks.tasks.checkpoint import load_task

__all__ = ["ClassificationComparison", "DetectionComparison", "SegmentationComparison", "compare", "unmatched"]


def compare(
    checkpoint: str | os.PathLike[str],
    artifact: str | os.PathLike[str],
    data: ImageData,
    split: str = "test",
    threads: int = 1,
    sheet: str | os.PathLike[str] | None = None,
    draw_from: float = 0.3,
) -> DetectionComparison | ClassificationComparison | SegmentationComparison:
    """Run a checkpoint's net and its artifact over a split, one picture at a time.

    Args:
        checkpoint: of ``bnn-tasks fit``.
        artifact: that ``bnn-tasks export`` made of it.
        data: the data module, with the classes of training.
        split: ``val`` or ``test``.
        threads: for both.
        sheet: where to save a sheet of the artifact's results beside the truth; None saves none.
        draw_from: score from which a detection is drawn, in [0, 1].

    Raises:
        ValueError: the checkpoint's task is not the data's, or the artifact is not of its classes, or of another net, or
            `sheet` cannot be written.
    """
    task, session = load_task(checkpoint), Session(artifact, threads=threads)
    if list(session.classes) != task.classes:
        raise ValueError(
            f"Expected {os.fspath(artifact)!r} to be of the classes {task.classes}, but it is of {list(session.classes)}."
        )
    own = [(node.name, node.op) for node in GraphWriter(task.model).builder.nodes]
    if own != [(node.name, node.op) for node in session.graph.nodes]:
        raise ValueError(
            f"Expected {os.fspath(artifact)!r} to be exported from {os.fspath(checkpoint)!r}, but it is of another net. Cure: "
            f"bnn-tasks export {os.fspath(checkpoint)} --out {os.fspath(artifact)}"
        )
    torch.set_num_threads(threads)
    if isinstance(task, DetectionTask) and isinstance(data, DetectionData):
        return compare_detectors(task, session, data, split, sheet, draw_from)
    if isinstance(task, ClassificationTask) and isinstance(data, ClassificationData):
        return compare_classifiers(task, session, data, split, sheet)
    if isinstance(task, SegmentationTask) and isinstance(data, SegmentationData):
        return compare_segmenters(task, session, data, split, sheet)
    raise ValueError(
        f"Expected a checkpoint and data of one task, but got {type(task).__name__} and {type(data).__name__}. Cure: the "
        "config that the checkpoint was trained with."
    )
