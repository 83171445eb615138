"""Expectation over a model's own randomness."""

import torch
from torch import Tensor

from bnn_tasks.robustness.attacks.base import Attack, Attacked
from bnn_tasks.robustness.attacks.wrapped import WrappedAttack, revalued
from bnn_tasks.robustness.objective import Objective


class MeanObjective(Objective):
    """The mean of n draws of a random objective; an image is lost where more than half of the draws say so.

    One lucky draw among the many that an attack makes is no success. All n graphs are kept for one backward pass.

    Args:
        objective: another value at every call.
        draws: n >= 1.
    """

    def __init__(self, objective: Objective, draws: int) -> None:
        self.objective, self.draws = objective, draws

    def judged(self, images: Tensor, progress: float = 0.0) -> tuple[Tensor, Tensor]:
        """Both of the same n draws."""
        values, broken = zip(*(self.objective.judged(images, progress) for _ in range(self.draws)))
        return torch.stack(values).mean(0), torch.stack(broken).float().mean(0) > 0.5

    def __call__(self, images: Tensor, progress: float = 0.0) -> Tensor:
        """Mean value."""
        return self.judged(images, progress)[0]

    def broken(self, images: Tensor) -> Tensor:
        """The majority's word."""
        return torch.stack([self.objective.broken(images) for _ in range(self.draws)]).float().mean(0) > 0.5

    def select(self, index: Tensor) -> "MeanObjective":
        """The same on some of the images."""
        return MeanObjective(self.objective.select(index), self.draws)


class EOT(WrappedAttack):
    """An attack that follows the mean gradient over n draws (Athalye et al., Synthesizing Robust Adversarial Examples, 2018).

    For models with randomness in their forward, whose single gradients point here and there. Their randomness is their own, not
    the generator's: for repeatable results seed it. ``queries`` counts a group of n draws as one.

    Args:
        attack: of any objective, as PGD or APGD are; other losses go round it: ``Raising(EOT(APGD()), DLRObjective)``.
        draws: n >= 1; AutoAttack's version for random defences has 20.

    Raises:
        TypeError: `attack` is not one of any objective.
        ValueError: `draws` is out of range.
    """

    def __init__(self, attack: Attack, draws: int = 20) -> None:
        if draws < 1:
            raise ValueError(f"Expected `draws` to be >= 1, but got {draws}.")
        super().__init__(attack, f"{attack.name} EOT-{draws}", MeanObjective)
        self.draws = draws

    def __call__(self, objective: Objective, images: Tensor, eps: float, generator: torch.Generator) -> Attacked:
        """Attack one batch; see `Attack`."""
        mean = MeanObjective(objective, self.draws)
        return revalued(self.attack(mean, images, eps, generator), mean)
