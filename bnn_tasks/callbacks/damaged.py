"""Which training images could not be read."""

import logging
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

_log = logging.getLogger(__name__)


class DamagedImages(Callback):
    """Counts the training images that could not be read, and names them when training ends."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget an earlier fit's."""
        self.names = set()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note what the loader left out."""
        self.names.update(batch.damaged)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say how many, and which."""
        if self.names:
            _log.warning(
                "%d damaged training image(s) were left out: %s", len(self.names), ", ".join(sorted(self.names))
            )
