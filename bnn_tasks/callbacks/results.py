"""results.json, and the predictions behind it."""

import json
import math
from typing import Any

import lightning as L
import numpy as np

from bnn_tasks.callbacks.confusion import confusion_matrix, draw_confusion
from bnn_tasks.callbacks.evaluation import EvaluationCallback, Results, results_of
from bnn_tasks.callbacks.files import run_folder, write_json
from bnn_tasks.tasks import ClassificationTask, ImageClassification, ImageDetections


def _detected(image: ImageDetections, category_ids: list[int]) -> list[dict[str, Any]]:
    rows = []
    for box, score, label in zip(image.boxes.tolist(), image.scores.tolist(), image.labels.tolist()):
        x0, y0, x1, y1 = box
        rows.append(
            {
                "image_id": image.target.image_id,
                "file_name": image.target.file_name,
                "category_id": category_ids[label],
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "score": score,
            }
        )
    return rows


def _classified(image: ImageClassification, classes: list[str]) -> dict[str, Any]:
    return {
        "file_name": image.file_name,
        "label": classes[image.label],
        "predicted": classes[image.predicted],
        "probability": float(image.probabilities[image.predicted]),
    }


class ResultsWriter(EvaluationCallback):
    """Writes ``results.json`` after every evaluation, and the predictions behind it; after ``predict`` the predictions alone.

    Of a detector, ``predictions.json`` is in COCO's results format (xywh in pixels of the original image, the data set's
    own category ids, and the file name); ``ground_truth.json`` beside it is the evaluated set in COCO's format.
    Of a classifier, ``predictions.json`` has ``file_name``, ``label`` (the true class), ``predicted`` and its
    ``probability``; beside it the confusion matrix, as ``confusion_matrix.json`` (``classes``, and ``counts`` with a row for
    every true class and a column for every predicted one) and drawn, ``confusion_matrix.png``.

    Args:
        dirpath: folder; None is the trainer's ``default_root_dir``.
    """

    def __init__(self, dirpath: str | None = None) -> None:
        self.dirpath = dirpath
        self.start()

    def start(self) -> None:
        """Start fresh lists."""
        self._predictions: list[dict[str, Any]] = []
        self._pairs: list[tuple[int, int]] = []  # true and predicted class

    def collect(self, trainer: L.Trainer, stage: str, results: Results) -> None:
        """Keep the results of a batch as rows of the file."""
        for image in results:
            if isinstance(image, ImageDetections):
                self._predictions += _detected(image, trainer.datamodule.category_ids)  # type: ignore[attr-defined]
            else:
                self._predictions.append(_classified(image, trainer.lightning_module.classes))  # type: ignore[arg-type]
                self._pairs.append((image.label, image.predicted))

    def finish(self, trainer: L.Trainer, stage: str) -> None:
        """Write what validation or test gave."""
        folder = run_folder(trainer, self.dirpath)
        metrics = {
            name: value if math.isfinite(value) else None
            for name, value in ((k, float(v)) for k, v in trainer.callback_metrics.items())
            if name.startswith(f"{stage}/")
        }
        path = folder / "results.json"
        results = json.loads(path.read_text()) if path.exists() else {}
        results[stage] = {"epoch": trainer.current_epoch, "step": trainer.global_step, "metrics": metrics}
        write_json(path, results)
        write_json(folder / stage / "predictions.json", self._predictions)
        task = trainer.lightning_module
        if isinstance(task, ClassificationTask):
            matrix = confusion_matrix(np.array(self._pairs, np.int64).reshape(-1, 2), len(task.classes))
            write_json(folder / stage / "confusion_matrix.json", {"classes": task.classes, "counts": matrix.tolist()})
            draw_confusion(matrix, task.classes, folder / stage / "confusion_matrix.png")
        else:
            truth = trainer.datamodule.ground_truth(stage)  # type: ignore[attr-defined]
            write_json(folder / stage / "ground_truth.json", truth)

    def on_predict_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start."""
        self.start()

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: int
    ) -> None:
        """Collect."""
        self.collect(trainer, "predict", results_of(outputs))

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the predictions."""
        write_json(run_folder(trainer, self.dirpath) / "predict" / "predictions.json", self._predictions)
