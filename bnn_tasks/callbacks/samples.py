"""Pictures of a few images of an evaluation."""

from typing import Any

import lightning as L
import numpy as np
from PIL import Image

from bnn_tasks.callbacks.evaluation import EvaluationCallback, Results
from bnn_tasks.callbacks.files import run_folder
from bnn_tasks.runtime.captions import captioned, picture_grid
from bnn_tasks.runtime.draw import contact_sheet, draw_boxes
from bnn_tasks.runtime.images import read_image
from bnn_tasks.tasks import ImageClassification, ImageDetections, Task

RIGHT, WRONG = (0, 110, 40), (190, 20, 20)


class SamplePictures(EvaluationCallback):
    """Draws a few images of every evaluation, ``samples_val.png`` and ``samples_test.png``.

    Of a detector, the first images, ground truth beside detections. Of a classifier, images from all over the split (which is
    often sorted by class), each with its true class and the predicted one.

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
        self.start()

    def start(self) -> None:
        """Start a fresh sheet."""
        self._images: list[Any] = []
        self._seen = 0

    def collect(self, trainer: L.Trainer, stage: str, results: Results) -> None:
        """Keep the images to draw."""
        if results and isinstance(results[0], ImageClassification):
            total = len(trainer.datamodule.samples(stage))  # type: ignore[attr-defined]
            wanted = set(np.linspace(0, total - 1, min(self.count, total)).round().astype(int).tolist())
            self._images += [image for index, image in enumerate(results, self._seen) if index in wanted]
            self._seen += len(results)
        else:
            self._images += results[: self.count - len(self._images)]

    def finish(self, trainer: L.Trainer, stage: str) -> None:
        """Draw."""
        if not self._images:
            return
        task = trainer.lightning_module
        assert isinstance(task, Task)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(self._images[0], ImageDetections):
            paths = {record.image_id: record.path for record in data.records(stage)}
            sheet = self._detections(
                {i.target.image_id: read_image(paths[i.target.image_id]) for i in self._images}, task
            )
        else:
            source = data.pictures(stage).source
            sheet = picture_grid([_classified(source.read(i.file_name), i, task.classes) for i in self._images])
        self.start()
        folder = run_folder(trainer, self.dirpath)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sheet).save(folder / f"samples_{stage}.png")

    def _detections(self, pictures: dict[int, np.ndarray], task: Task) -> np.ndarray:
        rows = []
        for found in self._images:
            image, classes, target = pictures[found.target.image_id], task.classes, found.target
            shown = found.scores >= self.score_threshold
            truth = draw_boxes(image, target.image_boxes.cpu().numpy(), target.labels.tolist(), classes)
            drawn = draw_boxes(image, found.boxes[shown], found.labels[shown].tolist(), classes, found.scores[shown])
            rows.append((truth, drawn))
        return contact_sheet(rows)


def _classified(picture: np.ndarray, image: ImageClassification, classes: list[str]) -> np.ndarray:
    lines = [f"true: {classes[image.label]}", f"{classes[image.predicted]} {image.probabilities[image.predicted]:.0%}"]
    return captioned(picture, lines, RIGHT if image.label == image.predicted else WRONG)
