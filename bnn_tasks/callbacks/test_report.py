"""What the reports of the tasks that only test share: one kind of task, one folder."""

from pathlib import Path
from typing import Generic, TypeVar

import lightning as L
from lightning.pytorch.callbacks import Callback

from bnn_tasks.callbacks.files import run_folder
from bnn_tasks.tasks.base import Task

TaskT = TypeVar("TaskT", bound=Task)


class TestReport(Callback, Generic[TaskT]):
    """Base class: writes into ``robustness/`` after a test.

    Args:
        dirpath: folder; None is the trainer's ``default_root_dir``.

    Attributes:
        task: the kind of task that is reported on.
    """

    __test__ = False  # pytest would take the name for a test's
    task: type[TaskT]

    def __init__(self, dirpath: str | None = None) -> None:
        super().__init__()
        self.dirpath = dirpath

    def write(self, task: TaskT, folder: Path) -> None:
        """Write everything.

        Args:
            task: that has been tested.
            folder: exists.
        """
        raise NotImplementedError

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Look at the task.

        Raises:
            TypeError: the task is another one.
        """
        if not isinstance(pl_module, self.task):
            raise TypeError(
                f"Expected the task {self.task.__name__}, but got {type(pl_module).__name__}. Cure: another callback than "
                f"{type(self).__name__}."
            )

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write."""
        assert isinstance(pl_module, self.task)
        folder = run_folder(trainer, self.dirpath) / "robustness"
        folder.mkdir(parents=True, exist_ok=True)
        self.write(pl_module, folder)
