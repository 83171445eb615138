"""Average precision under attack, and what of it is missed, made up or called by another name."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from bnn_tasks.data.detection.batch import DetectionBatch
from bnn_tasks.metrics import detection_confusion
from bnn_tasks.metrics.truth import truth_by_image
from bnn_tasks.metrics.voc import Detected
from bnn_tasks.robustness.attacks.base import Attack
from bnn_tasks.tasks.detection import DetectionTask
from bnn_tasks.tasks.detection_metrics import DetectionMetrics, ImageDetections, coco_truth
from bnn_tasks.tasks.robustness.canvas import Canvas
from bnn_tasks.tasks.robustness.detection_goals import Combined
from bnn_tasks.tasks.robustness.detection_objectives import DetectionObjective


def attacked_detection(
    task: DetectionTask, batches: Iterable[DetectionBatch], attack: Attack, eps: float, generator: torch.Generator
) -> Iterator[DetectionBatch]:
    """The batches with attacked images; targets are shared with the originals.

    Args:
        task: in eval mode, on the batches' device.
        batches: of the data module.
        attack: gets a `DetectionObjective` of the training loss, `Combined`.
        eps: radius of the ball, at the network's input size.
        generator: on the CPU.
    """
    for batch in batches:
        canvas = Canvas.of(batch.images, [target.placement for target in batch.targets])
        objective = DetectionObjective(task.model, batch.targets, canvas, Combined())
        with task.full_precision():
            found = objective.attack(attack, eps, generator)
        yield replace(batch, images=found.images)


@torch.no_grad()
def detect(task: DetectionTask, batches: Iterable[DetectionBatch]) -> list[ImageDetections]:
    """Every image's detections in its own pixels, as `DetectionTask` gives them.

    Args:
        task: in eval mode.
        batches: clean or attacked ones.
    """
    return [image for batch in batches for image in task.predict_step(batch, 0)["detections"]]


@dataclass(frozen=True)
class DetectionCounts:
    """What became of objects and detections at one score threshold and IoU 0.5; see `detection_confusion`.

    Attributes:
        boxes: detections at or above the threshold, those on objects to be ignored included.
        true_positives: found, with their class; what an attack takes away.
        mislabelled: found, with another class; what mislabelling raises.
        missed: objects not found; what vanishing raises.
        made_up: detections where there is no object; what fabrication raises.
    """

    boxes: int
    true_positives: int
    mislabelled: int
    missed: int
    made_up: int


def count_detections(
    images: Sequence[ImageDetections], classes: list[str], score_threshold: float = 0.3
) -> DetectionCounts:
    """Count over a set.

    Args:
        images: each once.
        classes: the K class names.
        score_threshold: detections below do not count, in [0, 1].
    """
    truth = truth_by_image(coco_truth([image.target for image in images], classes))
    pairs = [(Detected(image.boxes, image.scores, image.labels), truth[image.target.image_id]) for image in images]
    table = detection_confusion(pairs, len(classes), score_threshold)
    inner = table[:-1, :-1]
    return DetectionCounts(
        boxes=sum(int((image.scores >= score_threshold).sum()) for image in images),
        true_positives=int(inner.trace()),
        mislabelled=int(inner.sum() - inner.trace()),
        missed=int(table[:-1, -1].sum()),
        made_up=int(table[-1, :-1].sum()),
    )


def detection_figures(
    images: Sequence[ImageDetections], classes: list[str], ground_truth: dict[str, Any] | None = None
) -> dict[str, float]:
    """`DetectionMetrics` of a set: AP is the set's, so that there is no worst case image by image.

    Args:
        images: each once.
        classes: the K class names.
        ground_truth: of the set; see `DetectionMetrics.compute`.
    """
    metrics = DetectionMetrics(classes)
    for image in images:
        metrics.update(image)
    return metrics.compute(ground_truth)
