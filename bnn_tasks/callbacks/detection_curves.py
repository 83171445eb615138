"""Precision–recall curves and confusion matrix of a detector, as pictures and as numbers."""

from typing import Any

import lightning as L
import numpy as np

from bnn_tasks.callbacks.curve_picture import draw_precision_recall
from bnn_tasks.callbacks.evaluation import EvaluationCallback
from bnn_tasks.callbacks.files import run_folder, write_json
from bnn_tasks.callbacks.matrix_picture import draw_matrix
from bnn_tasks.metrics import Detected, VOCEvaluator, VOCResult, detection_confusion, truth_by_image
from bnn_tasks.tasks import DetectionTask

IOU = 0.5  # from which a detection has found an object: VOC's
RECALLS = np.arange(101) / 100  # at which the precision is written: COCO's
BACKGROUND = "background"


class DetectionCurves(EvaluationCallback):
    """Draws and writes after every evaluation of a detector, below ``val/`` or ``test/``, its curves and its confusions.

    ``precision_recall.png`` has a curve for every class at IoU 0.5 as VOC counts (`VOCEvaluator`), with its AP50 (area);
    ``precision_recall.json`` has ``recall`` (0, 0.01, …, 1) and by class ``precision``, the highest at that recall or a
    larger one, ``ap50`` (null for a class without objects) and ``objects``, without the difficult ones.
    ``detection_confusion.png`` has a row for every true class and a column for every detected one, and the background as the
    last: a row of what is made up, a column of what is missed (`detection_confusion`); ``detection_confusion.json`` has
    ``classes`` (the background last), ``counts``, ``score_threshold`` and ``iou``.

    Args:
        score_threshold: detections below are not in the confusion matrix, in [0, 1]; the curves have all.
        dirpath: folder; None is the trainer's ``default_root_dir``.

    Raises:
        ValueError: `score_threshold` is out of range.
    """

    def __init__(self, score_threshold: float = 0.3, dirpath: str | None = None) -> None:
        super().__init__()
        if not 0 <= score_threshold <= 1:
            raise ValueError(f"Expected `score_threshold` to be in [0, 1], but got {score_threshold}.")
        self.score_threshold, self.dirpath = score_threshold, dirpath

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse a task that detects nothing.

        Raises:
            ValueError: the task is no `DetectionTask`.
        """
        if not isinstance(pl_module, DetectionTask):
            raise ValueError(
                f"Expected `DetectionCurves` beside a DetectionTask, but got {type(pl_module).__name__}. "
                "Cure: take the callback out of the config."
            )

    def finish(self, trainer: L.Trainer, stage: str, kept: list[Any]) -> None:
        """Count, draw and write."""
        folder = run_folder(trainer, self.dirpath) / stage
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        classes, truth = list(data.class_names), truth_by_image(data.ground_truth(stage))
        images = [
            (Detected(image.boxes, image.scores, image.labels), truth[image.target.image_id])
            for image in sorted(kept, key=lambda image: image.target.image_id)
        ]
        voc = VOCEvaluator(len(classes), IOU)
        for found, true in images:
            voc.update(*found, true.boxes, true.labels, true.difficult | true.crowd)
        result = voc.compute()
        write_json(folder / "precision_recall.json", _curves(result, classes))
        title = f"{stage}, {len(kept)} images, IoU {IOU}: mean AP50 {result.mean:.3f}"
        draw_precision_recall(result, classes, title, folder / "precision_recall.png")

        counts = detection_confusion(images, len(classes), self.score_threshold, IOU)
        names = [*classes, BACKGROUND]
        write_json(
            folder / "detection_confusion.json",
            {"classes": names, "counts": counts.tolist(), "score_threshold": self.score_threshold, "iou": IOU},
        )
        objects, made_up = int(counts[:-1].sum()), int(counts[-1].sum())
        right, missed = int(counts.trace()), int(counts[:-1, -1].sum())
        title = (
            f"of {objects} objects {right} right, {objects - right - missed} of another class, {missed} missed;\n"
            f"{made_up} made up (score ≥ {self.score_threshold:g}, IoU ≥ {IOU})"
        )
        draw_matrix(counts, names, names, title, ("true", "detected"), folder / "detection_confusion.png")


def _curves(result: VOCResult, classes: list[str]) -> dict[str, Any]:
    curves = {}
    for label, name in enumerate(classes):
        known = not np.isnan(result.ap[label])
        # The envelope, and a 0 behind its end.
        envelope = np.append(np.maximum.accumulate(result.precision[label][::-1])[::-1], 0.0)
        curves[name] = {
            "ap50": float(result.ap[label]) if known else None,
            "objects": int(result.positives[label]),
            "precision": envelope[np.searchsorted(result.recall[label], RECALLS)].tolist() if known else None,
        }
    return {"iou": IOU, "recall": RECALLS.tolist(), "classes": curves}
