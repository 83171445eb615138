"""An exported artifact as the victim of attacks: the runtime itself is asked, not the net that it was made from."""

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bnn_tasks.runtime import Session


class ArtifactModel:
    """Images -> raw outputs of an artifact, as a model that attacks take; it has no gradient.

    Attacks that need none (`Square`, `HopSkipJump`, noise) run on it, and those on a twin are judged by it (transfer).

    Args:
        path: of the artifact.
        threads: of the runtime, 1 to the cores that this process may use.

    Attributes:
        session: the runtime's.

    Raises:
        ArtifactError: the file is damaged, of another kind or version.
        OSError: the file cannot be read.
        ValueError: `threads` is out of range.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int = 1) -> None:
        self.session = Session(path, threads=threads)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by label."""
        return self.session.classes

    def __call__(self, images: Tensor) -> Any:
        """Run the network.

        Args:
            images: (B, C, H, W) floating point in [0, 1], on any device.

        Returns:
            What the exported module's forward returns, float32 on the images' device: of a classifier or a segmenter logits.

        Raises:
            TypeError: a gradient is wanted, or `images` are no floating-point tensor.
            ValueError: the network cannot run on images of this shape.
        """
        if torch.is_grad_enabled() and images.requires_grad:
            raise TypeError(
                f"{self.session.path}: Expected images that no gradient is wanted of, but they require one: the runtime "
                "works on packed bits and has none. Cure: an attack without gradients (Square, HopSkipJump, noise), or a "
                "transfer from a torch twin (Transfer)."
            )
        if not images.is_floating_point():
            raise TypeError(
                f"{self.session.path}: Expected floating-point `images` in [0, 1], but got {images.dtype}. "
                "Cure: images.float() / 255."
            )
        pixels = np.ascontiguousarray(images.detach().float().cpu().numpy())
        return _to_torch(self.session.forward(pixels), images.device)


def _to_torch(outputs: Any, device: torch.device) -> Any:
    if isinstance(outputs, dict):
        return {name: _to_torch(value, device) for name, value in outputs.items()}
    if isinstance(outputs, list):
        return [_to_torch(value, device) for value in outputs]
    return torch.from_numpy(outputs).to(device)
