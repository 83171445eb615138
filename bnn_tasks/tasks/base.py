"""What all tasks share: hyperparameters that load safely, the optimiser, float32 evaluation."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import nn

from bnn_tasks.binary import OneCycle, Schedule
from bnn_tasks.tasks.optim import parameter_groups, schedule_learning_rate

PLAIN = (type(None), bool, int, float, str, list, tuple, dict)


class Task(L.LightningModule):
    """Base class of the tasks: an optimiser, a schedule, a list of class names. A task sets ``model``, what is exported.

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

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimiser over `parameter_groups` and its schedule, stepped after every batch."""
        optimizer = self.optimizer(parameter_groups(self))
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = schedule_learning_rate(optimizer, self.schedule, max(steps, 1))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store what the export needs besides weights: class names, input sizes and resize rule (of a data module)."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        checkpoint["bnn_tasks"] = {
            "classes": self.classes,
            "resize": None if data is None else data.resize.to_dict(),
        }

    def full_precision(self) -> torch.autocast:
        """Context for evaluation: bf16 is for training, its rounding would decide signs."""
        return torch.autocast(self.device.type, enabled=False)
