"""The checkpoint that a killed run resumes from."""

import os
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Callback, Checkpoint

from bnn_tasks.callbacks.files import run_folder


def last_checkpoint(root: str | os.PathLike[str]) -> Path:
    """Where `LastCheckpoint` writes.

    Args:
        root: the trainer's ``default_root_dir``.
    """
    return Path(root) / "checkpoints" / "last.ckpt"


def ends_with_this_epoch(trainer: L.Trainer) -> bool:
    """Whether a fit ends by itself with the epoch whose end is reached: by its limits, early stopping, or ``max_time``.

    Known where Lightning calls checkpoint callbacks; early stopping may decide only after all others have had their turn.

    Args:
        trainer: at ``on_train_epoch_end``.
    """
    epochs, steps = trainer.current_epoch + 1, trainer.global_step
    if epochs == trainer.max_epochs or steps == trainer.max_steps:
        return True
    return trainer.should_stop and epochs >= (trainer.min_epochs or 0) and steps >= (trainer.min_steps or 0)


class BeforeLastCheckpoint(Callback):
    """Base class of what changes the finished net, for which `LastCheckpoint` calls it before it saves that net."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse a fit that would leave the net as it is.

        Raises:
            ValueError: there is no `LastCheckpoint`.
        """
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if not any(isinstance(callback, LastCheckpoint) for callback in callbacks):
            raise ValueError(
                f"Expected `LastCheckpoint` beside `{type(self).__name__}`, which changes the net before the last checkpoint, "
                "but there is none. Cure: add the callback LastCheckpoint."
            )

    def before_last_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Change the net, once, at the end of the last epoch."""
        raise NotImplementedError


class LastCheckpoint(Checkpoint):
    """Writes ``checkpoints/last.ckpt`` below the trainer's ``default_root_dir`` after every epoch, or every few and the last.

    The last is also that of a fit that early stopping or ``max_time`` ends. The file is what a killed run resumes from, so it
    takes the old one's place only once it is complete, on the same disk: Lightning writes into the system's temporary folder
    and moves the file from there, which may be a copy. A kill costs at most the epochs since the last one.

    Args:
        every_n_epochs: >= 1; more where an epoch takes seconds and writing the file as long.

    Attributes:
        written: the file, once this fit has written it.

    Raises:
        ValueError: `every_n_epochs` is out of range.
    """

    def __init__(self, every_n_epochs: int = 1) -> None:
        if every_n_epochs < 1:
            raise ValueError(f"Expected `every_n_epochs` to be >= 1, but got {every_n_epochs}.")
        self.every_n_epochs = every_n_epochs
        self.written: Path | None = None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the checkpoint where it is due."""
        last = ends_with_this_epoch(trainer)
        if (trainer.current_epoch + 1) % self.every_n_epochs and not last:
            return
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        for callback in callbacks:
            if last and isinstance(callback, BeforeLastCheckpoint):
                callback.before_last_checkpoint(trainer, pl_module)
        path = last_checkpoint(run_folder(trainer, None))
        part = path.with_suffix(".part")
        try:
            trainer.save_checkpoint(part, weights_only=False)  # optimiser and callbacks too
        except BaseException:
            part.unlink(missing_ok=True)  # or a full disk stays full
            raise
        if trainer.is_global_zero:
            os.replace(part, path)
        self.written = path
