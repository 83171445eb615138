"""What the loss looks like around images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bnn_tasks.robustness.diagnostics.slices import loss_plane
from bnn_tasks.tasks.robustness.examinations.base import Examination
from bnn_tasks.tasks.robustness.findings import Examined
from bnn_tasks.tasks.robustness.radii import radius as checked_radius
from bnn_tasks.tasks.robustness.subject import Subject
from bnn_tasks.tasks.robustness.victims import Victim


@dataclass(frozen=True)
class Slices(Examined):
    """Cross-entropy over the planes of `loss_plane`.

    Attributes:
        offsets: (P,), in units of the images.
        losses: (B, P, P): first along the sign of the gradient, then along random signs.
    """

    name = "loss_slices"
    offsets: Tensor
    losses: Tensor

    def to_json(self) -> dict[str, Any]:
        """All figures; offsets in units of 1/255."""
        return {"offsets_255": (255 * self.offsets).tolist(), "losses": self.losses.tolist()}


class LossSlices(Examination):
    """Smooth where gradients can be trusted, flat or a stair where they cannot.

    Args:
        radius: in units of 1/255, 0.05 to 255.
        points: along each axis, odd, >= 3.
        images: the first of those that are right without an attack, >= 1.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, radius: float = 8.0, points: int = 21, images: int = 4) -> None:
        if points < 3 or points % 2 == 0:
            raise ValueError(f"Expected `points` to be odd and >= 3, but got {points}.")
        if images < 1:
            raise ValueError(f"Expected `images` to be >= 1, but got {images}.")
        self.radius, self.points, self.images = checked_radius("radius", radius), points, images

    def run(self, subject: Subject, others: Sequence[Victim]) -> Slices | None:
        """See `Examination`; None where the victim has no gradient."""
        if not subject.victim.differentiable:
            return None
        index = torch.arange(min(self.images, len(subject.x)))
        generator = torch.Generator().manual_seed(subject.seed)
        plane = loss_plane(subject.objective.select(index), subject.x[index], self.radius, generator, self.points)
        return Slices(plane.offsets, plane.losses)
