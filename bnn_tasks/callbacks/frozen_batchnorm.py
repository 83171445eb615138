"""BatchNorms that no longer follow the batch: FQN's rule for the small batches of detectors."""

from collections.abc import Sequence

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from bnn_tasks.tasks import Task


class FrozenBatchNorm(Callback):
    """From a share of the training on, BatchNorms of chosen parts normalise by their running statistics (Li et al., FQN, 2019).

    Statistics of a few images are noise: FQN trains with those of the net it starts from. They fit the weights that they were
    taken with, so the net should start from trained ones (`BackboneWeights`), or `after` be late. They stay frozen whatever
    puts the model back into training mode; `ReestimateBatchNorm` still replaces them after the last epoch.

    Args:
        after: share of the run's steps, in [0, 1); 0 freezes before the first step.
        affine: whether γ and β go on learning. Where not, they get no gradient and so no step.
        modules: names of the parts below the task's model.

    Raises:
        ValueError: an argument is out of range; when the fit starts, a name is not a part's, or a part has no BatchNorm with
            running statistics; at the freezing, the statistics are those of an untrained net.
    """

    def __init__(self, after: float = 0.0, affine: bool = False, modules: Sequence[str] = ("backbone",)) -> None:
        if not 0 <= after < 1:
            raise ValueError(f"Expected `after` to be in [0, 1), but got {after}. Cure: a share of the run's steps.")
        if isinstance(modules, str) or not modules:
            raise ValueError(f"Expected `modules` to be a list of names, but got {modules!r}. Cure: ['backbone'].")
        self.after, self.affine, self.modules = after, affine, tuple(modules)
        self._norms: dict[str, _BatchNorm] = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find the BatchNorms."""
        assert isinstance(pl_module, Task)
        self._norms = {}
        parts = dict(pl_module.model.named_modules())
        for part in self.modules:
            if part not in parts:
                raise ValueError(
                    f"Expected `modules` to name parts of {type(pl_module.model).__name__}, but got {part!r}. Cure: for "
                    f"instance {[name for name, _ in pl_module.model.named_children()]}."
                )
            norms = {
                f"{part}.{name}": norm
                for name, norm in parts[part].named_modules()
                if isinstance(norm, _BatchNorm) and norm.track_running_stats
            }
            if not norms:
                raise ValueError(
                    f"Expected {part!r} to have BatchNorms with running statistics, but it has none. Cure: leave it out."
                )
            self._norms |= norms

    def _frozen(self, pl_module: L.LightningModule) -> bool:
        assert isinstance(pl_module, Task)
        return pl_module.progress() >= self.after

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Put them into evaluation mode, before every batch: validation and others put the model back."""
        if not self._frozen(pl_module):
            return
        for name, norm in self._norms.items():
            if norm.training and norm.num_batches_tracked == 0:
                raise ValueError(
                    f"Expected statistics to freeze, but {name!r} has seen no batch. Cure: `after` > 0, or a start from "
                    "trained weights (callback BackboneWeights)."
                )
            norm.eval()

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        """Drop the gradients of γ and β. They were computed, so that processes that share gradients still agree."""
        if self.affine or not self._frozen(pl_module):
            return
        for norm in self._norms.values():
            for parameter in norm.parameters(recurse=False):
                parameter.grad = None
