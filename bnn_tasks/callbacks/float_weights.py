"""A float net's trained weights as the start of a backbone."""

import os

import lightning as L
from lightning.pytorch.callbacks import Callback

from bnn_tasks.backbones import load_float_checkpoint
from bnn_tasks.callbacks.start_weights import backbone_of
from bnn_tasks.tasks import Task


class FloatBackboneWeights(Callback):
    """Before the first step of a fit that does not resume, the backbone takes over a float net's weights.

    ImageNet's, as a rule: a file that ``torch.save(torchvision.models.resnet18(weights="DEFAULT").state_dict(), path)`` wrote.
    The float weights become the latent ones; see `bnn_tasks.backbones.load_float_checkpoint`, which is strict, and logs what
    was loaded, left out and kept. The pictures should be normalised as the float net's were, as `Normalize` does unless told.

    Args:
        path: a state_dict of the same topology, loaded with ``weights_only``, so no code in it can run. It is read when the
            fit starts.

    Raises:
        TypeError: when the fit starts: the backbone is neither a `ResNet` nor a `VGG16`.
        ValueError: when the fit starts: there is no such file, the model has no backbone, or a tensor does not fit.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Fill the backbone; see the class."""
        if trainer.ckpt_path is not None:
            return
        assert isinstance(pl_module, Task)
        if not os.path.isfile(self.path):
            raise ValueError(
                f"Expected the float weights {self.path!r} to be there, but there is no such file. Cure: "
                'torch.save(torchvision.models.resnet18(weights="DEFAULT").state_dict(), path).'
            )
        load_float_checkpoint(backbone_of(pl_module.model), self.path)
