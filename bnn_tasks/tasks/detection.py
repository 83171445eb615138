"""Detection: training losses, and validation loss and average precision from one forward pass."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from bnn_tasks.binary import Schedule
from bnn_tasks.data.detection.batch import DetectionBatch
from bnn_tasks.models import AuxiliaryLoss, Boxes, Detector
from bnn_tasks.tasks.detection_losses import picture_losses
from bnn_tasks.tasks.detection_metrics import DetectionMetrics, ImageDetections
from bnn_tasks.tasks.losses import add_losses
from bnn_tasks.tasks.picture import PictureTask

Judged = tuple[ImageDetections, float]  # a picture, and its loss


class DetectionTask(PictureTask[Detector, Judged]):
    """Train and evaluate a detector.

    Logs ``train/loss`` and, once an epoch, ``val/…`` or ``test/…``: ``loss``, COCO's ``ap``, ``ap50``, ``ap75``,
    ``ap_small``, ``ap_medium``, ``ap_large``, ``ar1``, ``ar10``, ``ar100``, ``ar_small``, ``ar_medium``, ``ar_large``, VOC's
    ``voc_ap50_area`` and ``voc_ap50_11point``, and per class ``ap/CLASS``, ``ap50/CLASS`` and ``voc_ap50/CLASS``. Higher is
    better for all but the losses. Evaluation rests on every image once, in however many processes it runs. Its loss is the mean
    of the images' own, each as if it were a batch of one: whatever the batch size, and where regions are drawn at random,
    always from the same seed, so that evaluating changes nothing of the training that follows. ``train/loss`` is a batch's,
    per object or region of the whole batch, and so no mean of these.

    Args:
        model: number of classes -> detector.
        classes: class names; linked from the data by the command line.
        optimizer: parameter groups -> optimiser.
        schedule: progress in [0, 1] -> learning-rate factor; None is `OneCycle` with its defaults.
        auxiliary: further training losses.
    """

    def __init__(
        self,
        model: Callable[[int], Detector],
        classes: list[str],
        optimizer: OptimizerCallable,
        schedule: Schedule | None = None,
        auxiliary: list[AuxiliaryLoss] | None = None,
    ) -> None:
        super().__init__(model, classes, optimizer, schedule, auxiliary)
        self._save_plain_hyperparameters()

    def forward(self, images: Tensor) -> dict[str, list[Tensor]]:
        """The detector's raw outputs for `images`, (N, 3, H, W) in [0, 1]."""
        outputs: dict[str, list[Tensor]] = self.model(images)
        return outputs

    def losses(self, outputs: dict[str, list[Tensor]], batch: DetectionBatch) -> dict[str, Tensor]:
        """The detector's losses, from its raw outputs."""
        return self.model.loss(outputs, batch.targets)

    def training_losses(self, batch: DetectionBatch) -> dict[str, Tensor]:
        """The detector's losses and the auxiliary ones."""
        features = self.model.features(batch.images)
        outputs = self.model.raw_outputs(features, (batch.images.shape[2], batch.images.shape[3]))
        losses = self.losses(outputs, batch)
        for extra in self.auxiliary:
            more = extra(self.model, batch.images, features, outputs, batch.targets, self.progress())
            losses = add_losses(losses, more)
        return losses

    def _detect(self, outputs: dict[str, list[Tensor]], batch: DetectionBatch) -> list[ImageDetections]:
        height, width = batch.images.shape[-2:]
        decoded: list[Boxes] = self.model.decode(outputs, (height, width))
        return [
            ImageDetections(
                move_data_to_device(target, torch.device("cpu")),
                target.placement.to_image(found.boxes.cpu().numpy()).astype(np.float32),
                found.scores.cpu().numpy(),
                found.labels.cpu().numpy(),
            )
            for target, found in zip(batch.targets, decoded, strict=True)
        ]

    def judge(self, batch: DetectionBatch) -> tuple[dict[str, list[ImageDetections]], list[Judged]]:
        """``detections`` of a batch, and each picture with its loss."""
        outputs = self.evaluation_forward(batch)
        losses = picture_losses(self.model, outputs, batch.targets, batch.images.device)
        detections = self._detect(outputs, batch)
        return {"detections": detections}, list(zip(detections, losses, strict=True))

    def answers(self, batch: DetectionBatch) -> dict[str, list[ImageDetections]]:
        """``detections`` of a batch, in the pictures' own pixels."""
        return {"detections": self._detect(self.evaluation_forward(batch), batch)}

    def key(self, picture: Judged) -> int:
        """The picture's id in the annotations."""
        return picture[0].target.image_id

    def metrics(self, pictures: list[Judged], stage: str) -> dict[str, float]:
        """COCO's and VOC's average precision of the whole split, and the mean loss."""
        metrics = DetectionMetrics(self.classes)
        for image, _ in pictures:
            metrics.update(image)
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        values = metrics.compute(None if data is None else data.ground_truth(stage))
        values["loss"] = math.fsum(loss for _, loss in pictures) / len(pictures)
        return values
