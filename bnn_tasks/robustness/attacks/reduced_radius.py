"""APGD that comes from outside: a wider ball first, then the one that counts."""

import torch
from torch import Tensor

from bnn_tasks.robustness.attacks.apgd import APGD
from bnn_tasks.robustness.attacks.base import Attacked
from bnn_tasks.robustness.attacks.ledger import Ledger
from bnn_tasks.robustness.attacks.unbroken import Unbroken
from bnn_tasks.robustness.norms import check_eps, check_images
from bnn_tasks.robustness.objective import Objective

# Radius over ε and share of the steps, stage by stage (Croce et al., SEA, 2023).
STAGES = ((2.0, 0.3), (1.5, 0.3), (1.0, 0.4))


class ReducedRadiusAPGD(APGD):
    """APGD in balls of radius 2ε, 1.5ε and ε with 30, 30 and 40 % of the steps (Croce et al., SEA, 2023).

    Each stage starts from the best point of the one before, projected to its ball, the first from a random one. Reconstructed:
    best is of highest objective, and step size and progress begin anew in every stage. Only what lies within ε is judged: the
    stages before call the objective, they do not ask it whether an image is lost.

    Args:
        steps: of all stages, >= 10, so that each has some; SEA's 300.
        norm: "linf" or "l2".

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, steps: int = 300, norm: str = "linf") -> None:
        super().__init__(steps, 1, norm)
        if steps < 10:
            raise ValueError(f"Expected `steps` to be >= 10, some a stage, but got {steps}.")
        self.name = f"reduced-radius APGD-{steps}"

    def __call__(self, objective: Objective, images: Tensor, eps: float, generator: torch.Generator) -> Attacked:
        """Attack one batch; see `Attack`. The trace is of all stages."""
        check_images(images)
        check_eps(eps, self.norm, images)
        ledger = Ledger(objective, images)
        index = ledger.alive
        if not len(index):
            return ledger.result()
        centres, ahead = images[index], Unbroken(objective.select(index))
        wide = STAGES[0][0] * eps
        x = self.norm.project(centres + self.norm.random(centres, wide, generator), centres, wide)
        for factor, share in STAGES[:-1]:
            book = Ledger(ahead, self.norm.project(x, centres, factor * eps))
            ledger.trace += self._ascend(book, centres, book.images.clone(), factor * eps, round(share * self.steps))
            ledger.queries[index] += book.queries
            x = book.images
        steps = self.steps - sum(round(share * self.steps) for _, share in STAGES[:-1])
        ledger.trace += self._ascend(ledger, images, self.norm.project(x, centres, eps), eps, steps)
        return ledger.result()
