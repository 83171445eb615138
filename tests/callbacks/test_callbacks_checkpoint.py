"""When last.ckpt is written, and what a disk that is full leaves."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from bnn_tasks.backbones import CifarResNet
from bnn_tasks.callbacks import LastCheckpoint
from bnn_tasks.data import SyntheticClassificationData
from bnn_tasks.models import Classifier
from bnn_tasks.tasks import ClassificationTask


class Stop(L.Callback):
    """Asks for an end at a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        trainer.should_stop |= trainer.global_step == self.step


class Writings(LastCheckpoint):
    """Notes the step of every checkpoint."""

    def __init__(self, every_n_epochs: int) -> None:
        super().__init__(every_n_epochs)
        self.steps: list[int] = []

    def on_save_checkpoint(self, trainer: L.Trainer, *_: Any) -> None:
        self.steps.append(trainer.global_step)


def fit(folder: Path, *callbacks: L.Callback, **options: Any) -> None:
    """3 steps an epoch."""
    data = SyntheticClassificationData(folder / "set", images=30, batch_size=6)
    task = ClassificationTask(
        lambda classes: Classifier(classes, CifarResNet(8, width=4)), data.class_names, partial(torch.optim.SGD, lr=0.1)
    )
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "limit_val_batches": 0}
    trainer = L.Trainer(accelerator="cpu", default_root_dir=folder, callbacks=list(callbacks), **quiet, **options)
    trainer.fit(task, data)


@pytest.mark.parametrize(
    ("every", "stop", "options", "steps"),
    [
        (2, None, {"max_epochs": 3}, [6, 9]),
        (3, None, {"max_epochs": 9, "max_steps": 4}, [4]),
        (2, 7, {"max_epochs": 9}, [6, 7]),
        (3, 2, {"max_epochs": 9, "min_epochs": 2}, [6]),  # a stop that is put off
        (3, 2, {"max_epochs": 9, "min_steps": 5}, [5]),
    ],
)
def test_the_last_epoch_is_written(
    every: int, stop: int | None, options: dict[str, Any], steps: list[int], tmp_path: Path
) -> None:
    last = Writings(every)
    fit(tmp_path, last, *([] if stop is None else [Stop(stop)]), **options)
    assert last.steps == steps
    assert last.written == tmp_path / "checkpoints" / "last.ckpt"
    assert torch.load(last.written, weights_only=True)["global_step"] == steps[-1]


def test_a_full_disk_leaves_the_earlier_checkpoint_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: L.Trainer, path: Path, weights_only: bool) -> None:
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    fit(tmp_path, LastCheckpoint(), max_epochs=1)
    whole = (tmp_path / "checkpoints" / "last.ckpt").read_bytes()
    monkeypatch.setattr(L.Trainer, "save_checkpoint", full)
    with pytest.raises(OSError, match="No space left"):
        fit(tmp_path, LastCheckpoint(), max_epochs=1)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]
    assert (tmp_path / "checkpoints" / "last.ckpt").read_bytes() == whole
