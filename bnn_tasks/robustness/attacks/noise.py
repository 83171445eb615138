"""Random noise: the control that every attack must beat."""

import torch
from torch import Tensor

from bnn_tasks.robustness.attacks.base import Attack, Attacked
from bnn_tasks.robustness.attacks.ledger import Ledger
from bnn_tasks.robustness.norms import check_eps, check_images, get_norm
from bnn_tasks.robustness.objective import Objective


class RandomNoise(Attack):
    """Noise as large as the attack's: ±ε on every value for L∞, a random direction of length ε for L2.

    Args:
        draws: tries, >= 1, each against the survivors alone.
        norm: "linf" or "l2".

    Raises:
        ValueError: an argument is out of range.
    """

    needs_gradient = False

    def __init__(self, draws: int = 1, norm: str = "linf") -> None:
        if draws < 1:
            raise ValueError(f"Expected `draws` to be >= 1, but got {draws}.")
        self.draws, self.norm = draws, get_norm(norm)
        self.name = "noise" + (f"x{draws}" if draws > 1 else "")

    def __call__(self, objective: Objective, images: Tensor, eps: float, generator: torch.Generator) -> Attacked:
        """Attack one batch; see `Attack`."""
        check_images(images)
        check_eps(eps, self.norm, images)
        ledger = Ledger(objective, images)
        for _ in range(self.draws):
            index = ledger.alive
            centres = images[index]
            noisy = self.norm.project(centres + self.norm.surface(centres, eps, generator), centres, eps)
            ledger.try_out(index, noisy)
        return ledger.result()
