"""Pictures of a few images of an evaluation."""

from collections.abc import Hashable
from typing import Any

import lightning as L
import numpy as np
from PIL import Image

from bnn_tasks.callbacks.evaluation import EvaluationCallback, Results
from bnn_tasks.callbacks.files import run_folder
from bnn_tasks.callbacks.segmentation_pictures import segmentation_sheet
from bnn_tasks.runtime.captions import captioned, picture_grid
from bnn_tasks.runtime.draw import contact_sheet, draw_boxes
from bnn_tasks.runtime.images import read_image
from bnn_tasks.tasks import ImageClassification, ImageDetections, ImageSegmentation, Task

RIGHT, WRONG = (0, 110, 40), (190, 20, 20)


class SamplePictures(EvaluationCallback):
    """Draws a few images of every evaluation, ``samples_val.png`` and ``samples_test.png``.

    Of a detector, the images of the lowest ids, ground truth beside detections. Of a classifier, images from all over the
    split (which is often sorted by class), each with its true class and the predicted one. Of a segmenter too, images from all
    over the split (neighbours are often of one film): the image, the true mask over it, the predicted one, and a legend.

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
        super().__init__()
        self.count, self.score_threshold, self.dirpath = count, score_threshold, dirpath

    def keep(self, trainer: L.Trainer, stage: str, results: Results) -> list[tuple[Hashable, Any]]:
        """Keep the images to draw, and of a detector those that may be."""
        kept = super().keep(trainer, stage, results)
        if not results or isinstance(results[0], ImageDetections):
            return kept
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(results[0], ImageSegmentation):
            split = [record.name for record in data.records(stage)]
        else:
            split = [sample.name for sample in data.samples(stage)]
        wanted = np.linspace(0, len(split) - 1, min(self.count, len(split))).round().astype(int)
        names = {split[index] for index in wanted}
        return [(name, image) for name, image in kept if name in names]

    def finish(self, trainer: L.Trainer, stage: str, kept: list[Any]) -> None:
        """Draw."""
        if not kept:
            return
        task = trainer.lightning_module
        assert isinstance(task, Task)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(kept[0], ImageDetections):
            images = sorted(kept, key=lambda image: image.target.image_id)[: self.count]
            paths = {record.image_id: record.path for record in data.records(stage)}
            sheet = contact_sheet([self._pair(read_image(paths[i.target.image_id]), i, task.classes) for i in images])
        elif isinstance(kept[0], ImageSegmentation):
            found = {image.target.file_name: image for image in kept}
            drawn = [(record.path, found[name]) for record in data.records(stage) if (name := record.name) in found]
            rows = [(read_image(path), image.target.mask.numpy(), image.classes) for path, image in drawn]
            sheet = segmentation_sheet(rows, task.classes)
        else:
            source = data.pictures(stage).source
            sheet = picture_grid([_classified(source.read(i.file_name), i, task.classes) for i in kept])
        folder = run_folder(trainer, self.dirpath)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sheet).save(folder / f"samples_{stage}.png")

    def _pair(self, image: np.ndarray, found: ImageDetections, classes: list[str]) -> tuple[np.ndarray, np.ndarray]:
        shown, target = found.scores >= self.score_threshold, found.target
        truth = draw_boxes(image, target.image_boxes.numpy(), target.labels.tolist(), classes)
        drawn = draw_boxes(image, found.boxes[shown], found.labels[shown].tolist(), classes, found.scores[shown])
        return truth, drawn


def _classified(picture: np.ndarray, image: ImageClassification, classes: list[str]) -> np.ndarray:
    lines = [f"true: {classes[image.label]}", f"{classes[image.predicted]} {image.probabilities[image.predicted]:.0%}"]
    return captioned(picture, lines, RIGHT if image.label == image.predicted else WRONG)
