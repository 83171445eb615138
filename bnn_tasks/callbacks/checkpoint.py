"""The checkpoint that a killed run resumes from."""

import os
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from bnn_tasks.callbacks.files import run_folder
from bnn_tasks.tasks import Task


def last_checkpoint(root: str | os.PathLike[str]) -> Path:
    """Where `LastCheckpoint` writes.

    Args:
        root: the trainer's ``default_root_dir``.
    """
    return Path(root) / "checkpoints" / "last.ckpt"


class LastCheckpoint(Checkpoint):
    """Writes ``checkpoints/last.ckpt`` below the trainer's ``default_root_dir`` after every epoch, or every few and the last.

    It is what a killed run resumes from, so it takes the old one's place only once it is complete, on the same disk
    (Lightning's own way goes through the system's temporary folder, from where a move may be a copy). A kill costs at most
    the epochs since the last one.

    Args:
        every_n_epochs: >= 1; more where an epoch takes seconds and writing the file as long.

    Raises:
        ValueError: `every_n_epochs` is out of range.
    """

    def __init__(self, every_n_epochs: int = 1) -> None:
        if every_n_epochs < 1:
            raise ValueError(f"Expected `every_n_epochs` to be >= 1, but got {every_n_epochs}.")
        self.every_n_epochs = every_n_epochs

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the checkpoint where it is due."""
        assert isinstance(pl_module, Task)
        if (trainer.current_epoch + 1) % self.every_n_epochs and pl_module.progress() < 1:
            return
        path = last_checkpoint(run_folder(trainer, None))
        part = path.with_suffix(".part")
        trainer.save_checkpoint(part, weights_only=False)  # optimiser and callbacks too
        if trainer.is_global_zero:
            os.replace(part, path)
