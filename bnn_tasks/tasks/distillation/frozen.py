"""What teachers of every task share: a frozen module, in eval mode, never in a checkpoint, loaded when it is first needed."""

import os
from typing import TypeVar

import torch
from torch import Tensor, nn

from bnn_tasks.tasks.checkpoint import load_task

Model = TypeVar("Model", bound=nn.Module)


class FrozenTeacher:
    """Base class: no nn.Module, so that the student's checkpoint, optimiser and training mode never meet it."""

    def __init__(self) -> None:
        self._module: nn.Module | None = None

    def load(self) -> nn.Module:
        """The module, with its trained weights."""
        raise NotImplementedError

    def module(self, images: Tensor) -> nn.Module:
        """The loaded module, frozen, on the device of `images`.

        Args:
            images: (N, C, H, W), on any device.
        """
        if self._module is None:
            module = self.load().eval().requires_grad_(False)
            self._module = module.to(images.device).to(memory_format=torch.channels_last)
        return self._module


def load_teacher(path: str, kind: type[Model], noun: str) -> Model:
    """The model of a checkpoint of ``bnn-tasks fit``.

    Args:
        path: the checkpoint.
        kind: the class that the model must be of.
        noun: what such a model is called in an error, with its article.

    Raises:
        ValueError: there is no such file, or it holds a model of another kind.
    """
    if not os.path.isfile(path):
        raise ValueError(
            f"Expected the teacher's checkpoint {path!r} to exist, but there is no such file. "
            "Cure: train the teacher first (bnn-tasks fit), or name its last.ckpt."
        )
    model = load_task(path).model
    if not isinstance(model, kind):
        raise ValueError(f"Expected {path!r} to hold {noun}, but it holds a {type(model).__name__}.")
    return model
