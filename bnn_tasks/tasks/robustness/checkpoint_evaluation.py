"""What the tasks share that test the net of a checkpoint on batches of the test split, over and over."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from torch import nn

from bnn_tasks.tasks.checkpoint import load_task
from bnn_tasks.tasks.robustness.evaluation_task import EvaluationTask


class CheckpointEvaluation(EvaluationTask):
    """Base class: a trained task, tested in ``on_test_epoch_end``.

    Args:
        checkpoint: of ``bnn-tasks fit``.
        classes: class names; linked from the data by the command line.
        batches: of the test split that are looked at, >= 1, from its beginning; None is all.
        seed: of everything random.

    Attributes:
        task: of the checkpoint, in eval mode; nothing of it learns.

    Raises:
        ValueError: the file is no such checkpoint, its classes are not the data's, or an argument is out of range.
    """

    def __init__(self, checkpoint: str, classes: list[str], batches: int | None, seed: int) -> None:
        super().__init__(classes)
        if batches is not None and batches < 1:
            raise ValueError(f"Expected `batches` to be >= 1, but got {batches}.")
        self.task = load_task(checkpoint)
        self.require_classes(checkpoint, self.task.classes)
        self.model: nn.Module = self.task.model.requires_grad_(False)
        self.checkpoint, self.batches, self.seed = checkpoint, batches, seed

    def names(self, batch: Any) -> Sequence[str]:
        """The images' file names."""
        return self.task.names(batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Nothing: ``on_test_epoch_end`` reads the batches, once for each figure."""

    def chosen(self, loader: Any) -> Iterator[Any]:
        """The loader's batches that are looked at, on the net's device; no more than one is kept.

        Args:
            loader: of the test split.
        """
        for batch in islice(loader, self.batches):
            yield self.trainer.strategy.batch_to_device(batch)
