"""Detection: training losses, and validation loss and average precision from one forward pass."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from bnn_tasks.binary import Schedule
from bnn_tasks.data.batch import DetectionBatch
from bnn_tasks.models import AuxiliaryLoss, Boxes, Detector
from bnn_tasks.tasks.base import Task
from bnn_tasks.tasks.detection_metrics import DetectionMetrics, ImageDetections
from bnn_tasks.tasks.gather import gather


class DetectionTask(Task):
    """Train and evaluate a detector.

    Logs ``train/loss`` and, once an epoch, ``val/…`` or ``test/…``: ``loss``, COCO's ``ap``, ``ap50``, ``ap75``,
    ``ap_small``, ``ap_medium``, ``ap_large``, ``ar1``, ``ar10``, ``ar100``, ``ar_small``, ``ar_medium``, ``ar_large``, VOC's
    ``voc_ap50_area`` and ``voc_ap50_11point``, and per class ``ap/CLASS``, ``ap50/CLASS`` and ``voc_ap50/CLASS``. Higher is
    better for all but the losses. Evaluation rests on every image once, in however many processes it runs.

    Args:
        model: number of classes -> detector.
        classes: class names; linked from the data by the command line.
        optimizer: parameter groups -> optimiser.
        schedule: progress in [0, 1] -> learning-rate factor; None is `OneCycle` with its defaults.
        auxiliary: further training losses.
    """

    model: Detector

    def __init__(
        self,
        model: Callable[[int], Detector],
        classes: list[str],
        optimizer: OptimizerCallable,
        schedule: Schedule | None = None,
        auxiliary: list[AuxiliaryLoss] | None = None,
    ) -> None:
        super().__init__(classes, optimizer, schedule)
        self._save_plain_hyperparameters()
        # channels_last: oneDNN's own layout, about 1.2 times as fast in training on a CPU.
        self.model = model(len(classes)).to(memory_format=torch.channels_last)
        self.auxiliary = nn.ModuleList(auxiliary or [])
        for extra in auxiliary or []:
            extra.bind(self.model)
        self._evaluated: list[tuple[ImageDetections, float]] = []  # images, and the loss of the batch of each

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
            losses |= extra(self.model, batch.images, features, outputs, batch.targets, self.progress())
        return losses

    def names(self, batch: DetectionBatch) -> Sequence[str]:
        """The images' file names."""
        return [target.file_name for target in batch.targets]

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

    def _evaluate(self, batch: DetectionBatch) -> dict[str, list[ImageDetections]]:
        with self.full_precision():
            outputs = self.evaluation_forward(batch)
            losses = self.losses(outputs, batch)
            detections = self._detect(outputs, batch)
        loss = float(torch.stack(list(losses.values())).sum())
        self._evaluated += [(image, loss) for image in detections]
        return {"detections": detections}

    def _finish(self, stage: str) -> None:
        evaluated = gather(self._evaluated, lambda pair: pair[0].target.image_id)
        self._evaluated = []
        metrics = DetectionMetrics(self.classes)
        for image, _ in evaluated:
            metrics.update(image)
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        values = metrics.compute(None if data is None else data.ground_truth(stage))
        values["loss"] = math.fsum(loss for _, loss in evaluated) / len(evaluated)
        # Every process has the same values: their maximum is bitwise any of them, their mean need not be.
        named = {f"{stage}/{name}": value for name, value in values.items()}
        self.log_dict(named, reduce_fx="max", sync_dist=True)

    def on_validation_epoch_start(self) -> None:
        """Forget what an evaluation that was broken off left."""
        super().on_validation_epoch_start()
        self._evaluated = []

    def on_test_epoch_start(self) -> None:
        """As for validation."""
        super().on_test_epoch_start()
        self._evaluated = []

    def validation_step(self, batch: DetectionBatch, batch_idx: int) -> dict[str, list[ImageDetections]]:
        """Loss and ``detections`` of one batch, from one forward."""
        return self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        """Metrics of the whole validation set."""
        self._finish("val")

    def test_step(self, batch: DetectionBatch, batch_idx: int) -> dict[str, list[ImageDetections]]:
        """Loss and ``detections`` of one batch, from one forward."""
        return self._evaluate(batch)

    def on_test_epoch_end(self) -> None:
        """Metrics of the whole test set."""
        self._finish("test")

    def predict_step(self, batch: DetectionBatch, batch_idx: int) -> dict[str, list[ImageDetections]]:
        """``detections`` of one batch in the images' own pixels."""
        with self.full_precision():
            return {"detections": self._detect(self.evaluation_forward(batch), batch)}
