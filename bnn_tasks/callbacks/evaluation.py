"""The hooks of validation and test, the same for both, and without the sanity check."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from bnn_tasks.tasks import ImageClassification, ImageDetections

Results = list[ImageDetections] | list[ImageClassification]


def results_of(outputs: dict[str, Results]) -> Results:
    """The results of a batch: a task's evaluation steps return one list, under one name."""
    (results,) = outputs.values()
    return results


class EvaluationCallback(Callback):
    """Base class: ``collect`` takes what every batch gave, ``finish`` comes after the last one."""

    def start(self) -> None:
        """Forget what an earlier evaluation gave."""
        raise NotImplementedError

    def collect(self, trainer: L.Trainer, stage: str, results: Results) -> None:
        """Take the results of a batch; `stage` is ``val`` or ``test``, the name of the split too."""
        raise NotImplementedError

    def finish(self, trainer: L.Trainer, stage: str) -> None:
        """Use what was collected."""
        raise NotImplementedError

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start."""
        self.start()

    def on_test_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start."""
        self.start()

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect."""
        self.collect(trainer, "val", results_of(outputs))

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect."""
        self.collect(trainer, "test", results_of(outputs))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Finish, but not for the sanity check."""
        if not trainer.sanity_checking:
            self.finish(trainer, "val")

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Finish."""
        self.finish(trainer, "test")
