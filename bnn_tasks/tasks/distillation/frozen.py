"""What teachers of every task share: a frozen module, in eval mode, never in a checkpoint, loaded when it is first needed."""

import os

import torch
from torch import Tensor, nn

from bnn_tasks.tasks.checkpoint import load_checkpoint, load_task


class FrozenTeacher:
    """Base class: no nn.Module, so that the student's checkpoint, optimiser and training mode never meet it."""

    def __init__(self) -> None:
        self._module: nn.Module | None = None

    def load(self) -> nn.Module:
        """The module, with its trained weights."""
        raise NotImplementedError

    def check_classes(self, classes: list[str]) -> None:
        """Raise ValueError where the teacher is known to have other classes; called before a fit, if a term goes by class.

        Args:
            classes: the student's, in label order.
        """

    def module(self, images: Tensor) -> nn.Module:
        """The loaded module, frozen, on the device of `images`.

        Args:
            images: (N, C, H, W), on any device.
        """
        if self._module is None:
            module = self.load().eval().requires_grad_(False)
            self._module = module.to(images.device).to(memory_format=torch.channels_last)
        return self._module


class TrainedTeacher(FrozenTeacher):
    """Base class of the teachers that ``bnn-tasks fit`` has trained.

    Args:
        path: a checkpoint of ``bnn-tasks fit``; read at the start of a fit.

    Attributes:
        kind: the class that the checkpoint's model must be of.
        noun: what such a model is called in an error, with its article.
    """

    kind: type[nn.Module]
    noun: str

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def check_classes(self, classes: list[str]) -> None:
        """See `FrozenTeacher`.

        Raises:
            ValueError: there is no such file, it is no checkpoint, or it was trained on other classes or another order.
        """
        self._check_there()
        if (found := load_checkpoint(self.path)["bnn_tasks"]["classes"]) != classes:
            raise ValueError(
                f"Expected the teacher {self.path!r} to be trained on the student's classes {classes}, in their order, but it "
                f"has {found}. Cure: a teacher of this set, or a term that compares features alone."
            )

    def load(self) -> nn.Module:
        """The checkpoint's model.

        Raises:
            ValueError: there is no such file, or it holds a model of another kind.
        """
        self._check_there()
        model: nn.Module = load_task(self.path).model
        if not isinstance(model, self.kind):
            raise ValueError(f"Expected {self.path!r} to hold {self.noun}, but it holds a {type(model).__name__}.")
        return model

    def _check_there(self) -> None:
        if not os.path.isfile(self.path):
            raise ValueError(
                f"Expected the teacher's checkpoint {self.path!r} to exist, but there is no such file. "
                "Cure: train the teacher first (bnn-tasks fit), or name its last.ckpt."
            )
