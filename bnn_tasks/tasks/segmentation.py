"""Segmentation: training losses, and validation loss, IoU and boundary F-score from one forward pass."""

from collections.abc import Callable

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from bnn_tasks.binary import Schedule
from bnn_tasks.data.segmentation.batch import VOID, SegmentationBatch
from bnn_tasks.metrics.segmentation import SegmentationConfusion
from bnn_tasks.models.segmenter import Segmenter
from bnn_tasks.runtime.segmentation import to_picture
from bnn_tasks.tasks.losses import add_losses
from bnn_tasks.tasks.picture import PictureTask
from bnn_tasks.tasks.segmentation_distillation import SegmentationAuxiliaryLoss
from bnn_tasks.tasks.segmentation_metrics import (
    ImageSegmentation,
    PictureScores,
    score_picture,
    segmentation_metrics,
    total_confusion,
)


class SegmentationTask(PictureTask[Segmenter, PictureScores]):
    """Train and evaluate a segmenter.

    Logs ``train/loss`` and, once an epoch, ``val/…`` or ``test/…``: ``loss``, ``miou``, ``pixel_accuracy``,
    ``mean_accuracy``, ``fw_iou`` (frequency-weighted IoU), ``boundary_f``, and per class ``iou/CLASS`` and
    ``boundary_f/CLASS``; see `segmentation_metrics`. Higher is better for all but the losses. Predictions are judged at every
    picture's own pixels, where `bnn-tasks run` gives them too, and every picture counts once, in however many processes.

    Args:
        model: number of classes -> segmenter.
        classes: class names, at most 255; linked from the data by the command line.
        optimizer: parameter groups -> optimiser.
        schedule: progress in [0, 1] -> learning-rate factor; None is `OneCycle` with its defaults.
        auxiliary: further training losses.

    Attributes:
        confusion: of the last evaluation that was finished.

    Raises:
        ValueError: `classes` is empty, names one class twice, or has more names than a mask has values.
    """

    def __init__(
        self,
        model: Callable[[int], Segmenter],
        classes: list[str],
        optimizer: OptimizerCallable,
        schedule: Schedule | None = None,
        auxiliary: list[SegmentationAuxiliaryLoss] | None = None,
    ) -> None:
        super().__init__(model, classes, optimizer, schedule, auxiliary)
        self._save_plain_hyperparameters()
        self.confusion = SegmentationConfusion(len(classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K, h, w), at the decoder's own resolution, for `images`, (N, C, H, W) in [0, 1]."""
        logits: Tensor = self.model(images)
        return logits

    def losses(self, outputs: Tensor, batch: SegmentationBatch) -> dict[str, Tensor]:
        """The segmenter's losses, from its logits."""
        return self.model.loss(outputs, batch.masks)

    def training_losses(self, batch: SegmentationBatch) -> dict[str, Tensor]:
        """The segmenter's losses and the auxiliary ones."""
        features = self.model.features(batch.images)
        outputs = self.model.predict(features)
        losses = self.losses(outputs, batch)
        for extra in self.auxiliary:
            more = extra(self.model, batch.images, features, outputs, batch.masks, self.progress())
            losses = add_losses(losses, more)
        return losses

    def _segment(self, outputs: Tensor, batch: SegmentationBatch) -> list[ImageSegmentation]:
        height, width = batch.images.shape[-2:]
        canvases = self.model.decode(outputs, (height, width)).to(torch.uint8).cpu().numpy()
        return [
            ImageSegmentation(
                move_data_to_device(target, torch.device("cpu")),
                to_picture(canvas, target.placement, (target.mask.shape[0], target.mask.shape[1])),
            )
            for target, canvas in zip(batch.targets, canvases, strict=True)
        ]

    def _picture_losses(self, outputs: Tensor, batch: SegmentationBatch) -> list[float]:
        """Each picture's own loss, which does not depend on the pictures beside it in the batch; NaN of an all-void one."""
        losses = []
        for logits, mask in zip(outputs.split(1), batch.masks.split(1), strict=True):
            judged = bool((mask != VOID).any())
            losses.append(
                float(torch.stack(list(self.model.loss(logits, mask).values())).sum()) if judged else torch.nan
            )
        return losses

    def judge(self, batch: SegmentationBatch) -> tuple[dict[str, list[ImageSegmentation]], list[PictureScores]]:
        """``segmentations`` of a batch, and each picture's scores."""
        outputs = self.evaluation_forward(batch)
        losses = self._picture_losses(outputs, batch)
        segmentations = self._segment(outputs, batch)
        scores = [
            score_picture(image, loss, len(self.classes)) for image, loss in zip(segmentations, losses, strict=True)
        ]
        return {"segmentations": segmentations}, scores

    def answers(self, batch: SegmentationBatch) -> dict[str, list[ImageSegmentation]]:
        """``segmentations`` of a batch: classes at the pictures' own pixels."""
        return {"segmentations": self._segment(self.evaluation_forward(batch), batch)}

    def key(self, picture: PictureScores) -> str:
        """The picture's file name."""
        return picture.file_name

    def metrics(self, pictures: list[PictureScores], stage: str) -> dict[str, float]:
        """IoU and boundary F-score of the whole split, from one confusion matrix, and the mean loss."""
        self.confusion = total_confusion(pictures, len(self.classes))
        return segmentation_metrics(pictures, self.confusion, self.classes)
