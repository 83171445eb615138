"""How far the gradient at an image says anything about its surroundings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bnn_tasks.robustness.diagnostics import gradient_cosine
from bnn_tasks.robustness.objective import CrossEntropyObjective
from bnn_tasks.tasks.robustness.examinations.base import Examination
from bnn_tasks.tasks.robustness.findings import Examined
from bnn_tasks.tasks.robustness.radii import radii as checked_radii
from bnn_tasks.tasks.robustness.subject import Subject
from bnn_tasks.tasks.robustness.victims import Victim


@dataclass(frozen=True)
class Cosines(Examined):
    """Mean cosines between the gradients of two points.

    Attributes:
        radii: of the step from the image, in units of the images.
        means: path of a net, the victim's first -> a mean a radius, in [-1, 1].
        images: how many the means are of.
    """

    name = "gradient_cosines"
    radii: list[float]
    means: dict[str, list[float]]
    images: int

    def to_json(self) -> dict[str, Any]:
        """All figures; radii in units of 1/255."""
        return {"radii_255": [255 * radius for radius in self.radii], "means": self.means, "images": self.images}


class GradientCosines(Examination):
    """cos(∇L(x), ∇L(x + u)) by the size of u, of the victim and of the nets beside it; u is uniform noise.

    Where it falls to 0 long before ε, the steps of an attack wander, however many they are: more starts and gradient-free
    attacks say more there than more steps.

    Args:
        radii: rising, in units of 1/255, 0.05 to 255.

    Raises:
        ValueError: `radii` are out of range.
    """

    def __init__(self, radii: Sequence[float] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)) -> None:
        self.radii = checked_radii("radii", radii)

    def run(self, subject: Subject, others: Sequence[Victim]) -> Cosines | None:
        """See `Examination`; None where the victim has no gradient."""
        if not subject.victim.differentiable:
            return None
        images, labels = subject.x[subject.probed], subject.y[subject.probed]
        means = {}
        for net in (subject.victim, *others):
            if net.differentiable:
                objective = CrossEntropyObjective(net, labels)
                generator = torch.Generator().manual_seed(subject.seed)
                found = [gradient_cosine(objective, images, radius, generator) for radius in self.radii]
                means[net.path] = [float(one.mean()) for one in found]
        return Cosines(self.radii, means, len(images))
