"""results.json, and the predictions behind it."""

import math
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.trainer.states import TrainerFn

from bnn_tasks.callbacks.confusion import confusion_matrix, draw_confusion
from bnn_tasks.callbacks.evaluation import EvaluationCallback, Results
from bnn_tasks.callbacks.files import read_json, run_folder, write_json
from bnn_tasks.callbacks.segmentation_pictures import draw_class_bars, draw_pixel_confusion
from bnn_tasks.metrics import object_counts, of_images
from bnn_tasks.runtime.answers import mask_picture
from bnn_tasks.tasks import ClassificationTask, DetectionTask, ImageClassification, ImageSegmentation, SegmentationTask
from bnn_tasks.tasks.checkpoint import load_checkpoint
from bnn_tasks.tasks.detection_metrics import coco_results
from bnn_tasks.tasks.gather import gather


def _classified(image: ImageClassification, classes: list[str]) -> dict[str, Any]:
    return {
        "file_name": image.file_name,
        "label": classes[image.label],
        "predicted": classes[image.predicted],
        "probability": float(image.probabilities[image.predicted]),
    }


def _write_segmentation(task: SegmentationTask, metrics: dict[str, float | None], stage: str, folder: Path) -> None:
    """Confusion matrix and scores by class, as numbers and as pictures."""
    scores = task.confusion
    write_json(folder / "confusion_matrix.json", {"classes": task.classes, "counts": scores.matrix.tolist()})
    title = f"{stage}: mean IoU {scores.miou:.3f}, {scores.pixel_accuracy:.1%} of the pixels right"
    draw_pixel_confusion(scores.matrix, task.classes, title, folder / "confusion_matrix.png")
    outlines = [metrics[f"{stage}/boundary_f/{name}"] for name in task.classes]
    bars = {"IoU": scores.iou.tolist(), "boundary F": [math.nan if value is None else value for value in outlines]}
    draw_class_bars(bars, task.classes, title, folder / "classes.png")


def _append(path: Path, result: dict[str, Any]) -> None:
    """Add a validation to the fit's history; one of the same step is replaced."""
    earlier = [entry for entry in read_json(path, []) if entry["step"] < result["step"]]
    write_json(path, [*earlier, {name: result[name] for name in ("epoch", "step", "metrics")}])


class ResultsWriter(EvaluationCallback):
    """Writes ``results.json`` after every evaluation, and the predictions behind it; after ``predict`` the predictions alone.

    ``results.json`` has for ``val`` and ``test``: ``epoch`` and ``step`` of the weights, within a fit the trainer's, outside
    those of the checkpoint, null where there is none; ``metrics``, and what these rest on: ``images``, their number, of a
    detector ``objects``, ``difficult`` and ``crowds`` by class, see `object_counts`, and of a segmenter ``pixels`` by true
    class.
    ``history.json`` beside it lists ``epoch``, ``step`` and ``metrics`` of every validation of the fit. A fit that does not
    resume starts both files anew; one that resumes keeps what is of its own steps so far.

    Of a detector, ``predictions.json`` is in COCO's results format (xywh in pixels of the original image, the data set's
    own category ids, and the file name), by image id, then by falling score; ``ground_truth.json`` beside it is the
    evaluated images in COCO's format.
    Of a classifier, ``predictions.json`` has ``file_name``, ``label`` (the true class), ``predicted`` and its
    ``probability``; beside it the confusion matrix, as ``confusion_matrix.json`` (``classes``, and ``counts`` with a row for
    every true class and a column for every predicted one) and drawn, ``confusion_matrix.png``.
    Of a segmenter, the confusion matrix of pixels likewise, IoU and boundary F-score by class drawn as ``classes.png``, and,
    but for the validations of a fit, ``masks/``: a paletted PNG for every image at its own size, whose indices are classes.

    Args:
        dirpath: folder; None is the trainer's ``default_root_dir``.
    """

    def __init__(self, dirpath: str | None = None) -> None:
        super().__init__()
        self.dirpath = dirpath
        self._origin: dict[str, int | None] = {}

    def keep(self, trainer: L.Trainer, stage: str, results: Results) -> list[tuple[Hashable, Any]]:
        """Keep all results; of a segmenter names alone: the masks of a whole set may not fit into memory, they are written."""
        kept = super().keep(trainer, stage, results)
        if not isinstance(trainer.lightning_module, SegmentationTask):
            return kept
        if trainer.state.fn != TrainerFn.FITTING:
            for image in results:
                assert isinstance(image, ImageSegmentation)
                path = run_folder(trainer, self.dirpath) / stage / "masks" / image.target.file_name
                path.parent.mkdir(parents=True, exist_ok=True)
                mask_picture(image.classes).save(path.with_suffix(".png"))
        return [(name, name) for name, _ in kept]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget evaluations of another fit, or, after the step from which this fit goes on, of one that was killed."""
        if not trainer.is_global_zero:
            return
        folder, done = run_folder(trainer, self.dirpath), trainer.global_step
        if history := read_json(folder / "history.json", []):
            write_json(folder / "history.json", [entry for entry in history if 0 < entry["step"] <= done])
        if results := read_json(folder / "results.json", {}):
            kept = {stage: entry for stage, entry in results.items() if 0 < (entry["step"] or 0) <= done}
            write_json(folder / "results.json", kept)

    def _note_origin(self, trainer: L.Trainer) -> None:
        """Epoch and step of the weights before their evaluation: by its end a fit may have replaced the checkpoint.

        Outside a fit the trainer's own counters say nothing of what it has loaded.
        """
        if trainer.state.fn == TrainerFn.FITTING:
            self._origin = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        else:
            loaded = {} if trainer.ckpt_path is None else load_checkpoint(trainer.ckpt_path)
            self._origin = {"epoch": loaded.get("epoch"), "step": loaded.get("global_step")}

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note what is evaluated."""
        self._note_origin(trainer)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note what is evaluated."""
        self._note_origin(trainer)

    def finish(self, trainer: L.Trainer, stage: str, kept: list[Any]) -> None:
        """Write what validation or test gave."""
        folder, task = run_folder(trainer, self.dirpath), trainer.lightning_module
        metrics = {
            name: value if math.isfinite(value) else None
            for name, value in ((k, float(v)) for k, v in trainer.callback_metrics.items())
            if name.startswith(f"{stage}/")
        }
        result: dict[str, Any] = {**self._origin, "images": len(kept), "metrics": metrics}
        if isinstance(task, ClassificationTask):
            pairs = np.array([(image.label, image.predicted) for image in kept], np.int64).reshape(-1, 2)
            matrix = confusion_matrix(pairs, len(task.classes))
            write_json(folder / stage / "confusion_matrix.json", {"classes": task.classes, "counts": matrix.tolist()})
            draw_confusion(matrix, task.classes, folder / stage / "confusion_matrix.png")
        elif isinstance(task, SegmentationTask):
            result["pixels"] = dict(zip(task.classes, task.confusion.matrix.sum(1).tolist()))
            _write_segmentation(task, metrics, stage, folder / stage)
        else:
            whole = trainer.datamodule.ground_truth(stage)  # type: ignore[attr-defined]
            truth = of_images(whole, [image.target.image_id for image in kept])
            write_json(folder / stage / "ground_truth.json", truth)
            result |= object_counts(truth)
        path = folder / "results.json"
        write_json(path, read_json(path, {}) | {stage: result})
        if trainer.state.fn == TrainerFn.FITTING:
            _append(folder / "history.json", result)
        self._write_predictions(trainer, stage, kept)

    def _write_predictions(self, trainer: L.Trainer, stage: str, kept: list[Any]) -> None:
        task = trainer.lightning_module
        if isinstance(task, SegmentationTask):
            return
        if isinstance(task, ClassificationTask):
            rows = [_classified(image, task.classes) for image in kept]
        else:
            assert isinstance(task, DetectionTask)
            rows = coco_results(kept, trainer.datamodule.category_ids, task.classes)  # type: ignore[attr-defined]
        write_json(run_folder(trainer, self.dirpath) / stage / "predictions.json", rows)

    def on_predict_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start."""
        self.start()

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: int
    ) -> None:
        """Collect."""
        self.collect(trainer, "predict", outputs)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the predictions."""
        kept = gather(self._kept, lambda pair: pair[0])
        self.start()
        if trainer.is_global_zero:
            self._write_predictions(trainer, "predict", [image for _, image in kept])
