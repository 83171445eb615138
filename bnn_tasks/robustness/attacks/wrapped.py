"""What attacks that run another attack share."""

import torch

from bnn_tasks.robustness.attacks.base import Attack, Attacked, require_objective
from bnn_tasks.robustness.objective import Objective


class WrappedAttack(Attack):
    """Base class of attacks that run another one: they have its norm, need what it needs and see what it sees.

    Args:
        attack: that is run.
        name: in reports.
        run_on: the kind of objective that `attack` is given.

    Raises:
        TypeError: `attack` cannot be given one.
    """

    def __init__(self, attack: Attack, name: str, run_on: type[Objective]) -> None:
        require_objective(attack, run_on)
        self.attack, self.name, self.norm = attack, name, attack.norm
        self.needs_gradient, self.sees_values = attack.needs_gradient, attack.sees_values


def revalued(found: Attacked, objective: Objective) -> Attacked:
    """`found` with its losses measured by `objective`, for books that compare attacks; one more query of every image.

    Args:
        found: of the batch that `objective` is bound to.
        objective: the one that the caller was given.
    """
    with torch.no_grad():
        losses, _ = objective.judged(found.images)
    return Attacked(found.images, found.broken, losses, found.queries + 1, found.trace)
