"""torch.compile for training: the forward of a model, compiled for the shape of the first batch."""

import os
import shutil
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bnn_tasks.binary import surrogate_in_force


def _compiler() -> str:
    return os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")


class CompiledForward:
    """A model's forward, compiled for one shape; batches of any other shape, an epoch's last for instance, run uncompiled.

    It compiles the bound method, not the module, so the model's ``state_dict`` has the same keys either way. Compiling
    takes about a minute and happens at the first call, once more where a mode or precision changes.

    Args:
        model: whose forward takes (N, 3, H, W) images.

    Raises:
        ValueError: torch.compile needs a C++ compiler, and there is none.
    """

    def __init__(self, model: nn.Module) -> None:
        if shutil.which(_compiler()) is None:
            raise ValueError(
                f"Expected a C++ compiler for `compile: true`, but found no {_compiler()!r}. Cure: install one (Debian: "
                "apt install g++; conda: conda install gxx), name yours in the environment variable CXX, or compile: false."
            )
        self._eager = model.forward
        self._compiled: Callable[[Tensor], Any] = torch.compile(model.forward, dynamic=False)
        self._shape: torch.Size | None = None

    def __call__(self, images: Tensor) -> Any:
        """The model's outputs for `images`, (N, 3, H, W).

        Raises:
            ValueError: within ``attack_surrogate``: the compiled code holds the gradients that the net was trained with.
        """
        if surrogate_in_force() is not None:
            raise ValueError(
                "Expected an uncompiled model within attack_surrogate, since compiled code keeps the surrogate gradients that "
                "it was compiled with. Cure: compile: false."
            )
        if self._shape is None:
            self._shape = images.shape
        return (self._compiled if images.shape == self._shape else self._eager)(images)
