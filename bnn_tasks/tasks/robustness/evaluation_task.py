"""What the tasks that only test share: nothing to train, the victim's classes, gradients."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig

from bnn_tasks import __version__
from bnn_tasks.tasks.base import Task
from bnn_tasks.tasks.robustness.fingerprint import fingerprint
from bnn_tasks.tasks.robustness.kept_results import KeptResults


def _wrong_verb(verb: str) -> ValueError:
    return ValueError(
        f"Expected the verb `test`, but got `{verb}`. Cure: bnn-tasks test; `splits` of the data names what is tested."
    )


def _no_optimizer(parameters: Any) -> Any:
    raise ValueError("Expected the verb `test`, but got `fit`: this task trains nothing. Cure: bnn-tasks test.")


class EvaluationTask(Task):
    """Base class of the tasks that run under ``bnn-tasks test`` alone.

    Args:
        classes: class names; label k is ``classes[k]``.

    Raises:
        ValueError: as for `Task`.
    """

    def __init__(self, classes: list[str]) -> None:
        super().__init__(classes, _no_optimizer)
        self._kept = KeptResults(None)

    def on_test_epoch_start(self) -> None:
        """Refuse several processes, each of which would judge a part of the split.

        Raises:
            ValueError: there are several.
        """
        super().on_test_epoch_start()
        if self.trainer.world_size > 1:
            raise ValueError(f"Expected one process, but got {self.trainer.world_size}. Cure: trainer.devices: 1.")

    def keep_results(self, settings: Any) -> KeptResults:
        """Where this test keeps its results until it is done: in ``robustness`` below the trainer's ``default_root_dir``.

        With ``fast_dev_run``, which leaves nothing, it keeps none.

        Args:
            settings: everything that they depend on, see `fingerprint`.
        """
        rehearsal: bool = self.trainer.fast_dev_run  # type: ignore[attr-defined]
        folder = None if rehearsal else Path(self.trainer.default_root_dir) / "robustness"
        self._kept = KeptResults(folder, fingerprint([__version__, type(self), settings]), self.device)
        return self._kept

    def on_test_end(self) -> None:
        """Delete the kept results; callbacks have written their reports by now."""
        self._kept.forget()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Refuse to train.

        Raises:
            ValueError: always.
        """
        result: OptimizerLRSchedulerConfig = _no_optimizer(None)
        return result

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Refuse.

        Raises:
            ValueError: always.
        """
        raise _wrong_verb("validate")

    def predict_step(self, batch: Any, batch_idx: int) -> None:
        """Refuse.

        Raises:
            ValueError: always.
        """
        raise _wrong_verb("predict")

    def require_classes(self, path: str, classes: Sequence[str]) -> None:
        """Raise ValueError unless a file's classes are the data's.

        Args:
            path: of the file.
            classes: that it was trained on.
        """
        if list(classes) != self.classes:
            raise ValueError(
                f"Expected {path!r} to have the data's classes {self.classes}, but it has {list(classes)}."
            )


def require_gradients() -> None:
    """Raise ValueError where torch is in inference mode, in which attacks cannot differentiate."""
    if torch.is_inference_mode_enabled():
        raise ValueError(
            "Expected a trainer that allows gradients, since attacks differentiate, but it is in inference mode. "
            "Cure: trainer.inference_mode: false."
        )
