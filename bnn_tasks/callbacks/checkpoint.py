"""The checkpoint that a killed run resumes from."""

import os
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Checkpoint


def last_checkpoint(root: str | os.PathLike[str]) -> Path:
    """Where `LastCheckpoint` writes.

    Args:
        root: the trainer's ``default_root_dir``.
    """
    return Path(root) / "checkpoints" / "last.ckpt"


class LastCheckpoint(Checkpoint):
    """Writes ``checkpoints/last.ckpt`` below the trainer's ``default_root_dir`` after every epoch.

    It is what a killed run resumes from, so it takes the old one's place only once it is complete, on the same disk
    (Lightning's own way goes through the system's temporary folder, from where a move may be a copy). A kill costs at most
    the epoch it falls into.
    """

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the checkpoint."""
        path = last_checkpoint(trainer.default_root_dir)
        part = path.with_suffix(".part")
        trainer.save_checkpoint(part, weights_only=False)  # optimiser and callbacks too
        if trainer.is_global_zero:
            os.replace(part, path)
