"""BatchNorm statistics of the finished net, before its last checkpoint."""

from itertools import islice

import lightning as L
from lightning.pytorch.callbacks import Callback

from bnn_tasks.binary import reestimate_batchnorm
from bnn_tasks.tasks import Task


class ReestimateBatchNorm(Callback):
    """After the last epoch, computes every BatchNorm's statistics anew with the true ±1 weights, in float32.

    It comes before the last ``last.ckpt`` and after the last validation of the fit; what ``validate`` and ``test`` then load
    has the new statistics. See `reestimate_batchnorm`.

    Args:
        batches: of the training loader, >= 1; all where it has fewer.

    Raises:
        ValueError: `batches` is out of range; at the end of a fit, the model has no BatchNorm.
    """

    def __init__(self, batches: int = 100) -> None:
        if batches < 1:
            raise ValueError(f"Expected `batches` to be >= 1, but got {batches}.")
        self.batches = batches

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Lightning runs checkpoint callbacks after this one."""
        assert isinstance(pl_module, Task)
        if pl_module.progress() < 1:
            return
        loader = islice(trainer.train_dataloader or (), self.batches)
        with pl_module.full_precision():
            reestimate_batchnorm(pl_module.model, (batch.images.to(pl_module.device).float() for batch in loader))
        # Each of several processes has seen batches of its own; the checkpoint has the first one's statistics.
        first = trainer.strategy.broadcast([buffer.cpu() for buffer in pl_module.model.buffers()])
        for buffer, found in zip(pl_module.model.buffers(), first, strict=True):
            buffer.copy_(found)
