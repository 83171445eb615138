"""Detection: training losses, and validation loss and average precision from one forward pass."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torchmetrics.detection import MeanAveragePrecision

from bnn_tasks.binary import Schedule
from bnn_tasks.data.batch import DetectionBatch, DetectionTarget
from bnn_tasks.metrics import VOCEvaluator
from bnn_tasks.models import AuxiliaryLoss, Boxes, Detector
from bnn_tasks.tasks.base import Task


@dataclass  # not frozen: Lightning moves what predict_step returns to the CPU, field by field
class ImageDetections:
    """Detections of one image in its own pixels.

    Attributes:
        target: the image and its ground truth.
        boxes: (D, 4) float32, xyxy in pixels of the original image.
        scores: (D,) float32.
        labels: (D,) int64.
    """

    target: DetectionTarget
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


class DetectionMetrics:
    """COCO metrics (pycocotools, through torchmetrics) and VOC AP50 over a whole set.

    Args:
        classes: class names.
    """

    def __init__(self, classes: list[str]) -> None:
        self.classes = classes
        # torchmetrics' own thresholds are rounded to float32, which moves the AP of classes with few objects.
        self.coco = MeanAveragePrecision(
            iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),
            rec_thresholds=np.linspace(0, 1, 101).tolist(),
            class_metrics=True,
            backend="pycocotools",
        )
        self.coco.warn_on_many_detections = False
        self.voc = VOCEvaluator(len(classes))

    def update(self, detections: ImageDetections) -> None:
        """Add one image."""
        target = detections.target
        self.coco.update(
            [
                {
                    "boxes": torch.from_numpy(detections.boxes),
                    "scores": torch.from_numpy(detections.scores),
                    "labels": torch.from_numpy(detections.labels),
                }
            ],
            [
                {
                    "boxes": target.image_boxes.cpu(),
                    "labels": target.labels.cpu(),
                    "iscrowd": target.crowd.cpu().int(),
                    "area": target.area.cpu(),
                }
            ],
        )
        self.voc.update(
            detections.boxes,
            detections.scores,
            detections.labels,
            target.image_boxes.cpu().numpy(),
            target.labels.cpu().numpy(),
            # A crowd is no single object: VOC's rule for what is neither found nor missed fits it.
            (target.difficult | target.crowd).cpu().numpy(),
        )

    def compute(self) -> dict[str, float]:
        """All metrics by name, each in [0, 1], higher is better; -1 or NaN where the set has no such object."""
        coco, voc = self.coco.compute(), self.voc.compute()
        names = {"ap": "map", "ap50": "map_50", "ap75": "map_75", "ap_small": "map_small", "ap_medium": "map_medium"}
        names |= {"ap_large": "map_large", "ar100": "mar_100"}
        values = {name: float(coco[key]) for name, key in names.items()}
        values |= {"voc_ap50_area": float(voc.mean), "voc_ap50_11point": float(voc.mean11)}
        of_class = dict(zip(coco["classes"].reshape(-1).tolist(), coco["map_per_class"].reshape(-1).tolist()))
        for index, name in enumerate(self.classes):
            values[f"ap/{name}"] = of_class.get(index, float("nan"))
            values[f"voc_ap50/{name}"] = float(voc.ap[index])
        return values


class DetectionTask(Task):
    """Train and evaluate a detector.

    Logs ``train/loss`` and, once an epoch, ``val/…`` or ``test/…``: ``loss``, COCO's ``ap``, ``ap50``, ``ap75``,
    ``ap_small``, ``ap_medium``, ``ap_large``, ``ar100``, VOC's ``voc_ap50_area`` and ``voc_ap50_11point``, and per class
    ``ap/CLASS`` and ``voc_ap50/CLASS``. Higher is better for all but the losses.

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
        for extra in self.auxiliary:
            extra.bind(self.model)
        self.metrics = DetectionMetrics(self.classes)

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
                target,
                target.placement.to_image(found.boxes.cpu().numpy()).astype(np.float32),
                found.scores.cpu().numpy(),
                found.labels.cpu().numpy(),
            )
            for target, found in zip(batch.targets, decoded, strict=True)
        ]

    def _evaluate(self, batch: DetectionBatch, stage: str) -> dict[str, list[ImageDetections]]:
        with self.full_precision():
            outputs = self.evaluation_forward(batch)
            losses = self.losses(outputs, batch)
            detections = self._detect(outputs, batch)
        total = torch.stack(list(losses.values())).sum()
        self.log(f"{stage}/loss", total, batch_size=len(batch.targets), on_epoch=True)
        for image in detections:
            self.metrics.update(image)
        return {"detections": detections}

    def _finish(self, stage: str) -> None:
        values = self.metrics.compute()
        self.metrics = DetectionMetrics(self.classes)
        self.log_dict({f"{stage}/{name}": value for name, value in values.items()})

    def validation_step(self, batch: DetectionBatch, batch_idx: int) -> dict[str, list[ImageDetections]]:
        """Loss and ``detections`` of one batch, from one forward."""
        return self._evaluate(batch, "val")

    def on_validation_epoch_end(self) -> None:
        """Metrics of the whole validation set."""
        self._finish("val")

    def test_step(self, batch: DetectionBatch, batch_idx: int) -> dict[str, list[ImageDetections]]:
        """Loss and ``detections`` of one batch, from one forward."""
        return self._evaluate(batch, "test")

    def on_test_epoch_end(self) -> None:
        """Metrics of the whole test set."""
        self._finish("test")

    def predict_step(self, batch: DetectionBatch, batch_idx: int) -> dict[str, list[ImageDetections]]:
        """``detections`` of one batch in the images' own pixels."""
        with self.full_precision():
            return {"detections": self._detect(self.evaluation_forward(batch), batch)}
