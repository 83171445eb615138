"""Weights of an earlier run as the start of this one: of its backbone, or of the whole model."""

import logging
import os

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from bnn_tasks.binary.start import load_weights
from bnn_tasks.tasks import Task
from bnn_tasks.tasks.checkpoint import load_checkpoint

_log = logging.getLogger(__name__)


def backbone_of(model: nn.Module) -> nn.Module:
    """The part that other nets' weights can start.

    Args:
        model: of a task.

    Raises:
        ValueError: it has no backbone.
    """
    children = dict(model.named_children())
    if "backbone" not in children:
        raise ValueError(
            f"Expected a model with a backbone, but {type(model).__name__} has {sorted(children)}. Cure: ModelWeights."
        )
    return children["backbone"]


class StartWeights(Callback):
    """Base class: before the first step of a fit that does not resume, copies weights out of a checkpoint.

    The layers must be the same, their methods need not be: see `bnn_tasks.binary.start.load_weights`. What was loaded, left out
    and kept is logged. Of a run that averaged its weights, the averages are taken. Optimiser and schedules start anew.

    Args:
        path: a checkpoint of ``bnn-tasks fit``, of any task; loaded with ``weights_only``, so no code in it can run. It is
            read when the fit starts.

    Attributes:
        prefix: of the weights' names in the checkpoint.
        cure: what fits, as an error says it.
    """

    prefix: str
    cure: str

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def part(self, model: nn.Module) -> nn.Module:
        """What is filled.

        Args:
            model: of the task.
        """
        raise NotImplementedError

    def choose(self, part: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors that must fit.

        Args:
            part: that is filled.
            state: the checkpoint's tensors of this part.
        """
        return state

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Fill the part.

        Raises:
            ValueError: the file is no such checkpoint, has no such part, or a tensor of it does not fit.
        """
        if trainer.ckpt_path is not None:
            return
        assert isinstance(pl_module, Task)
        whole: dict[str, Tensor] = load_checkpoint(self.path)["state_dict"]
        state = {k.removeprefix(self.prefix): tensor for k, tensor in whole.items() if k.startswith(self.prefix)}
        if not state:
            raise ValueError(
                f"Expected {self.path!r} to hold weights named {self.prefix!r}…, but it has {sorted(whole)[:3]}…. "
                f"Cure: {self.cure}."
            )
        part = self.part(pl_module.model)
        chosen = self.choose(part, state)
        try:
            report = load_weights(part, chosen)
        except ValueError as error:
            raise ValueError(f"{self.path!r}, weights {self.prefix!r}…: {error} Cure: {self.cure}.") from error
        beyond = sorted(state.keys() - chosen.keys())
        _log.info("%s: %s; of parts that are not built: %s", self.path, report, beyond or "nothing")


class BackboneWeights(StartWeights):
    """Starts the backbone from that of another run: a classifier's, a detector's, a feature distillation's.

    The checkpoint may have stages behind the last one that this backbone builds. A float net's weights come in through
    `FloatBackboneWeights` instead.

    Args:
        path: a checkpoint of ``bnn-tasks fit`` whose model has a backbone.

    Raises:
        ValueError: when the fit starts: the file is no such checkpoint, the model has no backbone, or a tensor does not fit.
    """

    prefix = "model.backbone."
    cure = (
        "a checkpoint whose backbone has the same class, blocks, depth, width and stem (methods may differ), or "
        "FloatBackboneWeights for a float net's state_dict"
    )

    def part(self, model: nn.Module) -> nn.Module:
        """The backbone."""
        return backbone_of(model)

    def choose(self, part: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of the parts that this backbone has."""
        built = {name.partition(".")[0] for name in part.state_dict()}
        return {name: tensor for name, tensor in state.items() if name.partition(".")[0] in built}


class ModelWeights(StartWeights):
    """Starts the whole model from that of another run: stage two of a training in two, or a longer training.

    Args:
        path: a checkpoint of ``bnn-tasks fit`` of the same model, for the same number of classes; methods may differ.

    Raises:
        ValueError: when the fit starts: the file is no such checkpoint, or a tensor does not fit.
    """

    prefix = "model."
    cure = "a checkpoint of the same model and as many classes (methods may differ), or BackboneWeights"

    def part(self, model: nn.Module) -> nn.Module:
        """All of it."""
        return model
