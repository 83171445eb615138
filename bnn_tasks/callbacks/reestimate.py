"""BatchNorm statistics of the finished net, before its last checkpoint."""

from itertools import islice

import lightning as L
from lightning.pytorch.callbacks import Callback, WeightAveraging

from bnn_tasks.binary import reestimate_batchnorm, set_progress
from bnn_tasks.callbacks.checkpoint import BeforeLastCheckpoint
from bnn_tasks.tasks import Task


class ReestimateBatchNorm(BeforeLastCheckpoint):
    """After the last epoch, computes every BatchNorm's statistics anew with the true ±1 weights, in float32.

    The last epoch is also that with which early stopping or ``max_time`` ends the fit. It comes before the last ``last.ckpt``,
    so `LastCheckpoint` must be there too, and after the last validation of the fit; what ``validate`` and ``test`` then load
    has the new statistics. Beside a callback that averages weights they are those of the averaged net, which the checkpoint
    holds. See `reestimate_batchnorm`.

    Args:
        batches: of the training loader, >= 1; all where it has fewer.

    Raises:
        ValueError: `batches` is out of range; when the fit starts, there is no `LastCheckpoint`; at its end, the model has no
            BatchNorm.
    """

    def __init__(self, batches: int = 100) -> None:
        if batches < 1:
            raise ValueError(f"Expected `batches` to be >= 1, but got {batches}.")
        self.batches = batches

    def before_last_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compute them."""
        assert isinstance(pl_module, Task)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        averaging = [callback for callback in callbacks if isinstance(callback, WeightAveraging)]
        for callback in averaging:  # The averages change places with the net's own tensors.
            callback.on_validation_epoch_start(trainer, pl_module)
        set_progress(pl_module, pl_module.progress())
        self._reestimate(trainer, pl_module)
        for callback in reversed(averaging):
            callback.on_validation_epoch_end(trainer, pl_module)  # And back, new statistics included.

    def _reestimate(self, trainer: L.Trainer, task: Task) -> None:
        loader = islice(trainer.train_dataloader or (), self.batches)
        with task.full_precision():
            reestimate_batchnorm(task.model, (batch.images.to(task.device).float() for batch in loader))
        # Each of several processes has seen batches of its own; the checkpoint has the first one's statistics.
        first = trainer.strategy.broadcast([buffer.cpu() for buffer in task.model.buffers()])
        for buffer, found in zip(task.model.buffers(), first, strict=True):
            buffer.copy_(found)
