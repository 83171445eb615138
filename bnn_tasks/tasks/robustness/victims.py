"""What is attacked: the net of a checkpoint, or an exported artifact."""

import os
from pathlib import Path

from torch import Tensor, nn

from bnn_tasks.tasks.checkpoint import load_task
from bnn_tasks.tasks.classification import ClassificationTask
from bnn_tasks.tasks.robustness.artifact import ArtifactModel


def run_name(path: str) -> str:
    """What a victim is called in tables: the run's folder, above ``checkpoints/last.ckpt``, or the file.

    Args:
        path: of a checkpoint or an artifact.
    """
    file = Path(path)
    return file.parents[1].name if file.parent.name == "checkpoints" and len(file.parents) > 2 else file.stem


class Victim:
    """Base class: a classifier, in eval mode, on images in [0, 1].

    Attributes:
        path: of its file.
        classes: names by label.
        differentiable: whether gradients reach the images.
        module: the torch net; None where there is none to look into.
    """

    path: str
    classes: list[str]
    differentiable: bool
    module: nn.Module | None

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (B, K) of `images`, (B, C, H, W) in [0, 1]."""
        raise NotImplementedError


class CheckpointVictim(Victim):
    """The trained net of a checkpoint, in float32.

    Args:
        path: a checkpoint of ``bnn-tasks fit``; loaded with ``weights_only``, so no code in it can run.

    Raises:
        ValueError: the file is no such checkpoint.
        TypeError: it is no classifier's.
    """

    differentiable = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        task = load_task(path)
        if not isinstance(task, ClassificationTask):
            raise TypeError(
                f"Expected {self.path!r} to be a classifier's, but it is a {type(task).__name__}'s. Cure: AttackTask attacks "
                "detectors and segmenters."
            )
        self.classes = list(task.classes)
        net: nn.Module = task.model.eval().float()
        self.module = net.requires_grad_(False)

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (B, K) of `images`, (B, C, H, W) in [0, 1].

        Raises:
            ValueError: the net is in train mode, whose BatchNorm statistics an attack would change.
        """
        assert self.module is not None
        if self.module.training:
            raise ValueError(
                f"Expected the net of {self.path!r} in eval mode, but it is in train mode: every attacked batch would move its "
                "BatchNorm statistics. Cure: module.eval()."
            )
        logits: Tensor = self.module(images)
        return logits


class ArtifactVictim(Victim):
    """An exported net, run by the runtime; only attacks without gradients reach it.

    Args:
        path: the artifact of a classifier.
        threads: of the runtime.

    Raises:
        ArtifactError: the file is damaged, of another kind or version.
        ValueError: it is no classifier's.
    """

    differentiable = False
    module = None

    def __init__(self, path: str | os.PathLike[str], threads: int = 1) -> None:
        self.path = os.fspath(path)
        self.model = ArtifactModel(path, threads)
        if self.model.session.graph.probabilities is None:
            raise ValueError(f"Expected {self.path!r} to be a classifier, but it gives no probabilities.")
        self.classes = list(self.model.classes)

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (B, K) of `images`, (B, C, H, W) in [0, 1]."""
        logits: Tensor = self.model(images)
        return logits
