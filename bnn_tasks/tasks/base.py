"""What all tasks share: hyperparameters that load safely, the training step, progress, float32 evaluation."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from bnn_tasks.binary import OneCycle, Schedule, Scheduled, check_layers, set_progress
from bnn_tasks.binary.optim import register_latent_updates
from bnn_tasks.tasks.optim import parameter_groups, schedule_learning_rate

PLAIN = (type(None), bool, int, float, str, list, tuple, dict)


class Task(L.LightningModule):
    """Base class of the tasks: an optimiser, a schedule, a list of class names. A task sets ``model``, what is exported.

    Training progress, optimiser steps done over steps in the whole run, goes to every scheduled part of the net (a gradient
    that sharpens, a temperature): when a fit starts or resumes, and after every step, so that evaluation and checkpoints
    have the progress reached, and after the last step it is exactly 1. A run that is stopped early stays below 1.

    Args:
        classes: class names; label k is ``classes[k]``.
        optimizer: parameter groups -> optimiser.
        schedule: progress in [0, 1] -> learning-rate factor; None is `OneCycle` with its defaults.

    Raises:
        ValueError: `classes` is empty or names one class twice.
    """

    model: nn.Module

    def __init__(self, classes: list[str], optimizer: OptimizerCallable, schedule: Schedule | None = None) -> None:
        super().__init__()
        if not classes or len(set(classes)) != len(classes):
            raise ValueError(f"Expected `classes` to be a non-empty list of different names, but got {classes}.")
        self.classes = list(classes)
        self.optimizer = optimizer
        self.schedule = OneCycle() if schedule is None else schedule

    def _save_plain_hyperparameters(self) -> None:
        """Keep the hyperparameters that a checkpoint loaded with ``weights_only`` may hold; live objects are not."""
        self.save_hyperparameters(logger=False)
        for name, value in list(self.hparams.items()):
            if not isinstance(value, PLAIN):
                del self.hparams[name]
        self._hparams_initial = self._hparams  # nothing else may hold on to the live objects

    def losses(self, outputs: Any, batch: Any) -> dict[str, Tensor]:
        """Losses by name, scalars; their sum is what is minimised. Nothing is logged.

        Args:
            outputs: what ``forward`` returned for the batch's images.
            batch: of the data module.
        """
        raise NotImplementedError

    def names(self, batch: Any) -> Sequence[str]:
        """File names of a batch's images, in order.

        Args:
            batch: of the data module.
        """
        raise NotImplementedError

    def training_forward(self, images: Tensor) -> Any:
        """What ``training_step`` runs: ``forward``, or a compiled form of it that gives the same but for rounding."""
        return self(images)

    def evaluation_forward(self, batch: Any) -> Any:
        """What validation, test and prediction run, within `full_precision`: ``forward``, whose outputs must be numbers.

        Args:
            batch: of the data module.

        Raises:
            ValueError: they are none; a metric would count them as wrong answers.
        """
        outputs = self(batch.images.float())
        if not _finite(outputs):
            raise ValueError(
                f"Expected finite outputs, but got NaN or infinite ones on {', '.join(self.names(batch))}. "
                "Cure: an earlier checkpoint, or training with a lower learning rate."
            )
        return outputs

    def training_losses(self, batch: Any) -> dict[str, Tensor]:
        """The losses that a training step minimises, by name.

        Args:
            batch: of the data module.
        """
        return self.losses(self.training_forward(batch.images), batch)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The sum of the losses; logs it as ``train/loss``, and where there are several, each as ``train/NAME``."""
        try:
            losses = self.training_losses(batch)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise ValueError(
                f"Expected at least two values a channel, over which a BatchNorm can average, but it got one: {error}. "
                "Cure: batch_size >= 2 and at least two training pictures for each of the data's `sizes`, or larger `sizes`."
            ) from error
        total = torch.stack(list(losses.values())).sum()
        names = self.names(batch)
        if not torch.isfinite(total):
            raise ValueError(
                f"Expected a finite loss, but got { {k: float(v.detach()) for k, v in losses.items()} } on "
                f"{', '.join(names)}. Cure: lower the learning rate or set trainer.gradient_clip_val."
            )
        self.log("train/loss", total, prog_bar=True, batch_size=len(names))
        if len(losses) > 1:
            self.log_dict({f"train/{k}": v for k, v in losses.items()}, batch_size=len(names))
        return total

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimiser over `parameter_groups` and its schedule, stepped after every batch.

        Raises:
            ValueError: a layer's method needs what the optimiser does not keep.
        """
        optimizer = self.optimizer(parameter_groups(self))
        register_latent_updates(optimizer, self)
        scheduler = schedule_learning_rate(optimizer, self.schedule, self._steps())
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _steps(self) -> int:
        """Optimiser steps of the whole run, >= 1."""
        steps = self.trainer.estimated_stepping_batches
        if not math.isfinite(steps):
            raise ValueError(
                "Expected a run of known length, which every schedule needs, but trainer.max_epochs is -1. "
                "Cure: set trainer.max_epochs or trainer.max_steps."
            )
        return max(int(steps), 1)

    def progress(self) -> float:
        """Share of the run's optimiser steps that are done, in [0, 1]; only while a trainer fits."""
        return min(self.trainer.global_step / self._steps(), 1.0)

    def setup(self, stage: str) -> None:
        """Refuse true half precision: latent weights of 8 or 11 bits do not follow small steps, and evaluation is in float32.

        Raises:
            ValueError: the trainer has such a precision.
        """
        precision = self.trainer.precision
        if precision in ("16-true", "bf16-true"):
            raise ValueError(
                f"Expected trainer.precision to keep weights of 32 or 64 bits, but got {precision}. Cure: bf16-mixed."
            )

    def on_train_start(self) -> None:
        """Refuse weights that cannot be binarised; tell the net the progress from which this fit goes on.

        Raises:
            ValueError: a weight or statistic is no number, or a latent weight lacks the spread that its method divides by.
        """
        check_layers(self)
        set_progress(self, self.progress())

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Tell the net the progress reached, before anything evaluates or saves it."""
        set_progress(self, self.progress())

    def on_validation_epoch_start(self) -> None:
        """Refuse what is no number; undo, within a fit, what a callback that averages weights does to the net's progress."""
        check_layers(self)
        if self.trainer.state.fn == TrainerFn.FITTING:
            set_progress(self, self.progress())

    def on_test_epoch_start(self) -> None:
        """Refuse weights and statistics that are no numbers."""
        check_layers(self)

    def on_predict_epoch_start(self) -> None:
        """As for the test."""
        check_layers(self)

    def on_train_end(self) -> None:
        """As for validation: the averaged weights have just taken the place of the last ones."""
        set_progress(self, self.progress())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store what the export needs besides weights: class names, input sizes and resize rule (of a data module)."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        checkpoint["bnn_tasks"] = {
            "classes": self.classes,
            "resize": None if data is None else data.resize.to_dict(),
        }
        # A callback that averages weights has put averages of the buffers too into the checkpoint.
        for name, part in self.named_modules(remove_duplicate=False):
            if isinstance(part, Scheduled):
                checkpoint["state_dict"][f"{name}.progress"] = part.progress.clone()

    @contextmanager
    def full_precision(self) -> Iterator[None]:
        """Context for evaluation: bf16 and TF32 are for training, their rounding would decide signs.

        torch lets convolutions on a GPU use TF32, whose products keep 10 bits, unless it is told not to.
        """
        convolutions, products = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        try:
            with torch.autocast(self.device.type, enabled=False):
                yield
        finally:
            torch.backends.cudnn.allow_tf32 = convolutions
            torch.backends.cuda.matmul.allow_tf32 = products


def _finite(outputs: Any) -> bool:
    """Whether every tensor in nested lists and dictionaries is."""
    if isinstance(outputs, Tensor):
        return bool(torch.isfinite(outputs).all())
    return all(map(_finite, outputs.values() if isinstance(outputs, dict) else outputs))
