"""What detection and segmentation share: a net judged once an epoch, on every picture of a split together."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import nn

from bnn_tasks.binary import Schedule
from bnn_tasks.tasks.base import Task
from bnn_tasks.tasks.gather import gather

Net = TypeVar("Net", bound=nn.Module)
Judged = TypeVar("Judged")  # what the metrics keep of one picture


class PictureTask(Task, Generic[Net, Judged]):
    """Base class of the tasks whose metrics need all pictures of a split, each once, in however many processes.

    Args:
        model: number of classes -> net.
        classes: class names; linked from the data by the command line.
        optimizer: parameter groups -> optimiser.
        schedule: progress in [0, 1] -> learning-rate factor; None is `OneCycle` with its defaults.
        auxiliary: further training losses, each with ``bind(model)`` and ``check_classes(classes)``.

    Raises:
        ValueError: `classes` is empty or names one class twice.
    """

    model: Net

    def __init__(
        self,
        model: Callable[[int], Net],
        classes: list[str],
        optimizer: OptimizerCallable,
        schedule: Schedule | None,
        auxiliary: Sequence[Any] | None,
    ) -> None:
        super().__init__(classes, optimizer, schedule)
        # channels_last: oneDNN's own layout, about 1.2 times as fast in training on a CPU.
        self.model = model(len(classes)).to(memory_format=torch.channels_last)
        self.auxiliary = nn.ModuleList(auxiliary or [])
        for extra in auxiliary or []:
            extra.bind(self.model)
        self._evaluated: list[list[Judged]] = []  # by batch

    def on_fit_start(self) -> None:
        """Hold the auxiliary losses against the classes, before anything is trained."""
        extras: list[Any] = list(self.auxiliary)
        for extra in extras:
            extra.check_classes(self.classes)

    def judge(self, batch: Any) -> tuple[dict[str, Any], list[Judged]]:
        """Run the net on a batch within `full_precision`.

        Args:
            batch: of the data module.

        Returns:
            What the evaluation step returns, and what the metrics need of each picture.
        """
        raise NotImplementedError

    def answers(self, batch: Any) -> dict[str, Any]:
        """Run the net on a batch within `full_precision`; return what the prediction step returns.

        Args:
            batch: of the data module.
        """
        raise NotImplementedError

    def key(self, picture: Judged) -> Any:
        """What tells a picture from the others of its split.

        Args:
            picture: one that was judged.
        """
        raise NotImplementedError

    def metrics(self, pictures: list[Judged], stage: str) -> dict[str, float]:
        """Metrics of a whole split, by name.

        Args:
            pictures: every picture once, in the loader's order.
            stage: ``"val"`` or ``"test"``.
        """
        raise NotImplementedError

    def names(self, batch: Any) -> Sequence[str]:
        """The pictures' file names."""
        return [target.file_name for target in batch.targets]

    def _evaluate(self, batch: Any) -> dict[str, Any]:
        with self.full_precision():
            answers, judged = self.judge(batch)
        self._evaluated.append(judged)
        return answers

    def _finish(self, stage: str) -> None:
        pictures = gather(self._evaluated, self.key)
        self._evaluated = []
        values = self.metrics(pictures, stage)
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

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """What ``judge`` returns first: ``detections`` or ``segmentations`` of one batch, from one forward."""
        return self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        """Metrics of the whole validation set."""
        self._finish("val")

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """What ``judge`` returns first: ``detections`` or ``segmentations`` of one batch, from one forward."""
        return self._evaluate(batch)

    def on_test_epoch_end(self) -> None:
        """Metrics of the whole test set."""
        self._finish("test")

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """``detections`` or ``segmentations`` of one batch, in the pictures' own pixels."""
        with self.full_precision():
            return self.answers(batch)
