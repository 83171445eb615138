"""Classification: training loss, and validation loss and accuracy from one forward pass over every image."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MeanMetric

from bnn_tasks.binary import Schedule
from bnn_tasks.data.classification.batch import ClassificationBatch
from bnn_tasks.models import ImageClassifier
from bnn_tasks.robustness.adversarial_training import CleanTraining, Learner, TrainingObjective
from bnn_tasks.tasks.base import Task
from bnn_tasks.tasks.classification_auxiliary import ClassificationAuxiliaryLoss
from bnn_tasks.tasks.classification_metrics import ClassificationMetrics, ImageClassification
from bnn_tasks.tasks.compiled import CompiledForward
from bnn_tasks.tasks.losses import add_losses


class ClassificationTask(Task):
    """Train and evaluate a classifier.

    Logs ``train/loss`` and, once an epoch, ``val/…`` or ``test/…`` over every image of the split: ``loss``, ``top1``,
    ``top5`` (where there are more than five classes) and per class ``accuracy/CLASS``. Higher is better for all but the
    losses. Several processes log the same, over what all of them saw.

    Args:
        model: number of classes -> classifier.
        classes: class names; linked from the data by the command line.
        optimizer: parameter groups -> optimiser.
        schedule: progress in [0, 1] -> learning-rate factor; None is `OneCycle` with its defaults.
        compile: whether training runs the model's forward through torch.compile: an optimiser of whole graphs, which needs
            a C++ compiler and takes about a minute at the start. Evaluation, export and the checkpoint's keys are the
            same either way.
        training: what is trained on; None is `CleanTraining`, others are `DistilledTraining`, `PGDTraining`, `FreeTraining` and
            `TRADES`.
        auxiliary: further training losses.

    Raises:
        ValueError: `classes` is empty or names one class twice; at the start of a fit, `compile` is set and there is no
            C++ compiler, or `training` replays batches and gradients are accumulated over several.
    """

    model: ImageClassifier

    def __init__(
        self,
        model: Callable[[int], ImageClassifier],
        classes: list[str],
        optimizer: OptimizerCallable,
        schedule: Schedule | None = None,
        compile: bool = False,
        training: TrainingObjective | None = None,
        auxiliary: list[ClassificationAuxiliaryLoss] | None = None,
    ) -> None:
        super().__init__(classes, optimizer, schedule)
        self._save_plain_hyperparameters()
        # channels_last: oneDNN's own layout, about 1.2 times as fast in training on a CPU.
        self.model = model(len(classes)).to(memory_format=torch.channels_last)
        self.metrics = ClassificationMetrics(self.classes)
        self.mean_loss = MeanMetric()  # Lightning's mean over several processes rounds their shares to whole images
        self.compile_training = compile
        self._compiled: CompiledForward | None = None
        self.objective = CleanTraining() if training is None else training
        self.auxiliary = nn.ModuleList(auxiliary or [])

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) for `images`, (N, 3, H, W) in [0, 1]."""
        logits: Tensor = self.model(images)
        return logits

    def on_fit_start(self) -> None:
        """Refuse gradients accumulated over replayed batches; set up objective and, where it is wanted, compiled forward."""
        if self.objective.replays > 1 and self.trainer.accumulate_grad_batches != 1:
            raise ValueError(
                f"Expected trainer.accumulate_grad_batches to be 1 for {type(self.objective).__name__}, which steps several "
                f"times on each batch, but got {self.trainer.accumulate_grad_batches}. Cure: 1, or PGDTraining."
            )
        self.objective.check_classes(self.classes)
        self.objective.start()
        self._compiled = CompiledForward(self.model) if self.compile_training else None

    def training_forward(self, images: Tensor) -> Tensor:
        """``forward``, compiled where that is wanted."""
        logits: Tensor = self(images) if self._compiled is None else self._compiled(images)
        return logits

    def losses(self, outputs: Tensor, batch: ClassificationBatch) -> dict[str, Tensor]:
        """The classifier's losses, from its logits."""
        return self.model.loss(outputs, batch.labels)

    def training_losses(self, batch: ClassificationBatch) -> dict[str, Tensor]:
        """The training objective's losses and the auxiliary ones."""
        learner = Learner(self.model, self.training_forward, self.model.loss)
        losses = self.objective(learner, batch.images, batch.labels)
        for extra in self.auxiliary:
            losses = add_losses(losses, extra(self.model, batch.images, batch.labels, self.progress()))
        return losses

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """As many steps on the batch as the training objective replays it; for schedules and progress they are one."""
        for _ in range(self.objective.replays):
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    def names(self, batch: ClassificationBatch) -> Sequence[str]:
        """The images' file names."""
        return batch.names

    def _evaluate(self, batch: ClassificationBatch) -> dict[str, list[ImageClassification]]:
        with self.full_precision():
            logits = self.evaluation_forward(batch)
            losses = self.losses(logits, batch)
            probabilities = self.model.decode(logits)
        total = torch.stack(list(losses.values())).sum()
        self.mean_loss.update(total, len(batch.names))
        self.metrics.update(probabilities, batch.labels)
        return {"classifications": _of_images(probabilities, batch)}

    def _finish(self, stage: str) -> None:
        values = self.metrics.compute() | {"loss": float(self.mean_loss.compute())}
        self.metrics.reset()
        self.mean_loss.reset()
        # torchmetrics has brought the processes together: their maximum is bitwise any of them, their mean need not be.
        named = {f"{stage}/{name}": value for name, value in values.items()}
        self.log_dict(named, reduce_fx="max", sync_dist=True)

    def validation_step(self, batch: ClassificationBatch, batch_idx: int) -> dict[str, list[ImageClassification]]:
        """Loss and ``classifications`` of one batch, from one forward."""
        return self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        """Metrics of the whole validation set."""
        self._finish("val")

    def test_step(self, batch: ClassificationBatch, batch_idx: int) -> dict[str, list[ImageClassification]]:
        """Loss and ``classifications`` of one batch, from one forward."""
        return self._evaluate(batch)

    def on_test_epoch_end(self) -> None:
        """Metrics of the whole test set."""
        self._finish("test")

    def predict_step(self, batch: ClassificationBatch, batch_idx: int) -> dict[str, list[ImageClassification]]:
        """``classifications`` of one batch."""
        with self.full_precision():
            probabilities = self.model.decode(self.evaluation_forward(batch))
        return {"classifications": _of_images(probabilities, batch)}


def _of_images(probabilities: Tensor, batch: ClassificationBatch) -> list[ImageClassification]:
    rows = probabilities.cpu().numpy()
    return [ImageClassification(*row) for row in zip(batch.names, batch.labels.tolist(), rows, strict=True)]
