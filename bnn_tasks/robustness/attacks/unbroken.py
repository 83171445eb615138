"""An objective that is climbed to the last step."""

import torch
from torch import Tensor

from bnn_tasks.robustness.objective import Objective


class Unbroken(Objective):
    """An objective that no image is ever lost by: the attack climbs to its last step, as a transfer needs,
    or a stage outside the ball.

    Args:
        objective: the one that is raised.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def __call__(self, images: Tensor, progress: float = 0.0) -> Tensor:
        """The objective's value."""
        return self.objective(images, progress)

    def broken(self, images: Tensor) -> Tensor:
        """Never."""
        return torch.zeros(len(images), dtype=torch.bool, device=images.device)

    def select(self, index: Tensor) -> "Unbroken":
        """The same on some of the images."""
        return Unbroken(self.objective.select(index))
