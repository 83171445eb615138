"""The loss around an image, along a line and over a plane: smooth, flat, or a stair."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bnn_tasks.robustness.diagnostics.gradients import input_gradient
from bnn_tasks.robustness.objective import Objective


@dataclass(frozen=True)
class LossLine:
    """L(clip(x + a·d)).

    Attributes:
        offsets: a, (P,), in units of the images, from -radius to radius.
        losses: (B, P).
    """

    offsets: Tensor
    losses: Tensor


@dataclass(frozen=True)
class LossPlane:
    """L(clip(x + a·d_1 + b·d_2)).

    Attributes:
        offsets: a and b alike, (P,), in units of the images, from -radius to radius.
        losses: (B, P, P), first a, then b.
    """

    offsets: Tensor
    losses: Tensor


def _offsets(radius: float, points: int) -> Tensor:
    if not radius > 0 or points < 3 or points % 2 == 0:
        raise ValueError(
            f"Expected `radius` > 0 and `points` odd and >= 3, so that the image itself is one, but got {radius} and {points}."
        )
    half = points // 2
    return torch.arange(-half, half + 1) * (radius / half)


def _loss(objective: Objective, images: Tensor) -> Tensor:
    with torch.no_grad():
        return objective(images.clamp(0, 1)).float().cpu()


def loss_line(objective: Objective, images: Tensor, radius: float, points: int = 41) -> LossLine:
    """The loss along d = sign(∇L(x)), the way of an L∞ step.

    Args:
        objective: bound to the batch.
        images: (B, C, H, W) in [0, 1].
        radius: of a, > 0; images are cut to [0, 1] all the same.
        points: P, odd, >= 3.

    Raises:
        ValueError: an argument is out of range.
    """
    offsets = _offsets(radius, points)
    d = input_gradient(objective, images).sign()
    return LossLine(offsets, torch.stack([_loss(objective, images + float(a) * d) for a in offsets], dim=1))


def loss_plane(
    objective: Objective, images: Tensor, radius: float, generator: torch.Generator, points: int = 21
) -> LossPlane:
    """The loss over d_1 = sign(∇L(x)) and d_2, a random sign for every value: both of the same L∞ and L2 length.

    Args:
        objective: bound to the batch.
        images: (B, C, H, W) in [0, 1].
        radius: of a and b, > 0; images are cut to [0, 1] all the same.
        generator: on the CPU.
        points: P, odd, >= 3.

    Raises:
        ValueError: an argument is out of range.
    """
    offsets = _offsets(radius, points)
    first = input_gradient(objective, images).sign()
    second = torch.randint(2, images.shape, generator=generator).to(images) * 2 - 1
    rows = [
        torch.stack([_loss(objective, images + float(a) * first + float(b) * second) for b in offsets], dim=1)
        for a in offsets
    ]
    return LossPlane(offsets, torch.stack(rows, dim=1))
