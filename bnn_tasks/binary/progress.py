"""What changes during training, told by one number: the progress of the run, in [0, 1].

A task calls ``set_progress`` before every step with steps done / steps in the run. The number is a buffer, so a
checkpoint holds it, and an exported net knows whether its training was finished.
"""

import math

import torch
from torch import Tensor, nn


class Scheduled(nn.Module):
    """Base class of everything that follows the progress of training.

    Attributes:
        progress: 0-dimensional float32 buffer in [0, 1].
    """

    progress: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("progress", torch.zeros(()))

    def set_progress(self, progress: float) -> None:
        """Move to `progress`, in [0, 1]."""
        self.progress.fill_(progress)


def set_progress(module: nn.Module, progress: float) -> None:
    """Tell every scheduled part of a net how far training has come.

    Args:
        module: the net.
        progress: steps done / steps in the run, in [0, 1].

    Raises:
        ValueError: `progress` is out of range: the schedule would be longer than the training.
    """
    if not 0 <= progress <= 1:
        raise ValueError(
            f"Expected `progress` to be in [0, 1], but got {progress}. Cure: steps done / steps of the whole run."
        )
    for part in module.modules():
        if isinstance(part, Scheduled):
            part.set_progress(progress)


def exponential(progress: Tensor, start: float, end: float) -> Tensor:
    """start^(1-p) · end^p: a straight line on a logarithmic scale.

    Args:
        progress: p, in [0, 1].
        start: value at 0, > 0.
        end: value at 1, > 0.
    """
    return start * (end / start) ** progress


def check_range(start_name: str, start: float, end_name: str, end: float) -> None:
    """Raise ValueError if `start` or `end`, of the names given, cannot bound an `exponential`."""
    if not (0 < start < math.inf and 0 < end < math.inf):
        raise ValueError(f"Expected `{start_name}` and `{end_name}` to be finite and > 0, but got {start} and {end}.")
