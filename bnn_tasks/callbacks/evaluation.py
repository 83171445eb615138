"""The hooks of validation and test, the same for both, and without the sanity check."""

from collections.abc import Hashable
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from bnn_tasks.tasks import (
    ClassificationTask,
    DetectionTask,
    ImageClassification,
    ImageDetections,
    ImageSegmentation,
    SegmentationTask,
)
from bnn_tasks.tasks.gather import gather

Result = ImageDetections | ImageClassification | ImageSegmentation
Results = list[ImageDetections] | list[ImageClassification] | list[ImageSegmentation]


def results_of(outputs: dict[str, Results]) -> Results:
    """The results of a batch: a task's evaluation steps return one list, under one name."""
    (results,) = outputs.values()
    return results


def _identity(result: Result) -> Hashable:
    if isinstance(result, ImageDetections):
        return result.target.image_id
    return result.file_name if isinstance(result, ImageClassification) else result.target.file_name


class EvaluationCallback(Callback):
    """Base class: ``keep`` takes from a batch what ``finish`` needs, ``finish`` comes after the last batch.

    With several processes ``finish`` runs in the first one alone, with what all of them kept, each image once.
    """

    def __init__(self) -> None:
        self._kept: list[list[tuple[Hashable, Any]]] = []  # by batch

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse a task that gives no answer for an image.

        Raises:
            ValueError: the task is another.
        """
        if not isinstance(pl_module, ClassificationTask | DetectionTask | SegmentationTask):
            raise ValueError(
                f"Expected `{type(self).__name__}` beside a task that answers for each image, but got "
                f"{type(pl_module).__name__}. Cure: take the callback out of the config."
            )

    def keep(self, trainer: L.Trainer, stage: str, results: Results) -> list[tuple[Hashable, Any]]:
        """What to keep of a batch, by image id or name; `stage` is ``val``, ``test`` (names of splits too) or ``predict``."""
        return [(_identity(result), result) for result in results]

    def finish(self, trainer: L.Trainer, stage: str, kept: list[Any]) -> None:
        """Use what was kept, in the order of the loader."""
        raise NotImplementedError

    def start(self) -> None:
        """Forget what an earlier evaluation gave."""
        self._kept = []

    def collect(self, trainer: L.Trainer, stage: str, outputs: Any) -> None:
        """Keep what is wanted of a batch."""
        self._kept.append(self.keep(trainer, stage, results_of(outputs)))

    def end(self, trainer: L.Trainer, stage: str) -> None:
        """Bring the processes' parts together and finish."""
        kept = gather(self._kept, lambda pair: pair[0])
        self.start()
        if trainer.is_global_zero:
            self.finish(trainer, stage, [item for _, item in kept])

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
        self.collect(trainer, "val", outputs)

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
        self.collect(trainer, "test", outputs)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Finish, but not for the sanity check."""
        if not trainer.sanity_checking:
            self.end(trainer, "val")

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Finish."""
        self.end(trainer, "test")
