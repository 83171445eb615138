"""What is written or drawn during a run: checkpoints, results.json, predictions, sample pictures, damaged images."""

import json
import logging
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback, Checkpoint
from PIL import Image

from bnn_tasks.runtime.draw import contact_sheet, draw_boxes
from bnn_tasks.runtime.images import read_image
from bnn_tasks.tasks import ImageDetections, Task

_log = logging.getLogger(__name__)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, complete or not at all: to a temporary file that then takes the place of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False) as file:
        json.dump(value, file, indent=1)
    os.replace(file.name, path)


def _folder(trainer: L.Trainer, dirpath: str | None) -> Path:
    return Path(dirpath if dirpath is not None else trainer.default_root_dir)


class LastCheckpoint(Checkpoint):
    """Writes ``checkpoints/last.ckpt`` below the trainer's ``default_root_dir`` after every epoch.

    It is what a killed run resumes from, so it takes the old one's place only once it is complete, on the same disk
    (Lightning's own way goes through the system's temporary folder, from where a move may be a copy). A kill costs at most
    the epoch it falls into.
    """

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the checkpoint."""
        path = Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt"
        part = path.with_suffix(".part")
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            os.replace(part, path)


class ResultsWriter(Callback):
    """Writes ``results.json`` after every evaluation, and the predictions behind it; after ``predict`` the predictions alone.

    ``predictions.json`` is in COCO's results format (xywh in pixels of the original image, the data set's own category
    ids, and the file name); ``ground_truth.json`` beside it is the evaluated set in COCO's format.

    Args:
        dirpath: folder; None is the trainer's ``default_root_dir``.
    """

    def __init__(self, dirpath: str | None = None) -> None:
        self.dirpath = dirpath
        self._predictions: list[dict[str, Any]] = []

    def _collect(self, trainer: L.Trainer, outputs: list[ImageDetections]) -> None:
        ids = trainer.datamodule.category_ids  # type: ignore[attr-defined]
        for image in outputs:
            for box, score, label in zip(image.boxes.tolist(), image.scores.tolist(), image.labels.tolist()):
                x0, y0, x1, y1 = box
                self._predictions.append(
                    {
                        "image_id": image.target.image_id,
                        "file_name": image.target.file_name,
                        "category_id": ids[label],
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "score": score,
                    }
                )

    def _write(self, trainer: L.Trainer, stage: str, split: str) -> None:
        folder = _folder(trainer, self.dirpath)
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
        write_json(folder / stage / "ground_truth.json", trainer.datamodule.ground_truth(split))  # type: ignore[attr-defined]

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start a fresh list."""
        self._predictions = []

    def on_test_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start a fresh list."""
        self._predictions = []

    def on_predict_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start a fresh list."""
        self._predictions = []

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: int
    ) -> None:
        """Collect the detections of a batch."""
        self._collect(trainer, outputs["detections"])

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the predictions."""
        write_json(_folder(trainer, self.dirpath) / "predict" / "predictions.json", self._predictions)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect the detections of a batch."""
        self._collect(trainer, outputs["detections"])

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect the detections of a batch."""
        self._collect(trainer, outputs["detections"])

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write what validation gave."""
        if not trainer.sanity_checking:
            self._write(trainer, "val", "val")

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write what the test gave."""
        self._write(trainer, "test", "test")


class SamplePictures(Callback):
    """Draws the first images of every evaluation: ground truth beside detections, ``samples_val.png``, ``samples_test.png``.

    Args:
        count: images on the sheet, >= 1.
        score_threshold: detections below are not drawn, in [0, 1].
        dirpath: folder; None is the trainer's ``default_root_dir``.

    Raises:
        ValueError: `count` is out of range.
    """

    def __init__(self, count: int = 8, score_threshold: float = 0.3, dirpath: str | None = None) -> None:
        if count < 1:
            raise ValueError(f"Expected `count` to be >= 1, but got {count}.")
        self.count, self.score_threshold, self.dirpath = count, score_threshold, dirpath
        self._images: list[ImageDetections] = []

    def _collect(self, outputs: list[ImageDetections]) -> None:
        self._images += outputs[: self.count - len(self._images)]

    def _draw(self, trainer: L.Trainer, stage: str) -> None:
        task = trainer.lightning_module
        assert isinstance(task, Task)
        classes = task.classes
        paths = {record.image_id: record.path for record in trainer.datamodule.records(stage)}  # type: ignore[attr-defined]
        rows = []
        for found in self._images:
            image = read_image(paths[found.target.image_id])
            shown = found.scores >= self.score_threshold
            truth = draw_boxes(image, found.target.image_boxes.cpu().numpy(), found.target.labels.tolist(), classes)
            rows.append(
                (
                    truth,
                    draw_boxes(image, found.boxes[shown], found.labels[shown].tolist(), classes, found.scores[shown]),
                )
            )
        self._images = []
        folder = _folder(trainer, self.dirpath)
        folder.mkdir(parents=True, exist_ok=True)
        sheet: np.ndarray = contact_sheet(rows)
        Image.fromarray(sheet).save(folder / f"samples_{stage}.png")

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first images."""
        self._collect(outputs["detections"])

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first images."""
        self._collect(outputs["detections"])

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw, but not for the sanity check."""
        if trainer.sanity_checking:
            self._images = []
        else:
            self._draw(trainer, "val")

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw."""
        self._draw(trainer, "test")


class DamagedImages(Callback):
    """Counts the training images that could not be read, and names them when training ends."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note what the loader left out."""
        self.names.update(batch.damaged)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say how many, and which."""
        if self.names:
            _log.warning(
                "%d damaged training image(s) were left out: %s", len(self.names), ", ".join(sorted(self.names))
            )
