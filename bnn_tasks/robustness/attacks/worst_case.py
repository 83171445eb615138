"""The worst that several attacks do to each image."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bnn_tasks.robustness.attacks.base import Attack, Attacked, common_norm, common_objective
from bnn_tasks.robustness.attacks.ledger import Ledger
from bnn_tasks.robustness.attacks.wrapped import revalued
from bnn_tasks.robustness.objective import Objective


@dataclass
class MembersAttacked(Attacked):
    """What a group of attacks found.

    Attributes:
        members: name -> (B,) bool, the images that this member broke.
    """

    members: dict[str, Tensor] = field(default_factory=dict)


class WorstCase(Attack):
    """Image by image the minimum over attacks, mean_x min_a, which no mean of minima replaces.

    Every attack fights for the survivors of those before it alone: cheap ones first. So ``members`` says who broke an image
    first, not who could have.

    Args:
        attacks: of one norm, with names of their own.

    Raises:
        ValueError: there is none, two share a name, or norms differ.
        TypeError: they are of different tasks.
    """

    name = "worst case"

    def __init__(self, attacks: Sequence[Attack]) -> None:
        names = [attack.name for attack in attacks]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"Expected `attacks` to be some, each with a name of its own, but got {names}.")
        self.attacks = list(attacks)
        self.norm, self.objective = common_norm(attacks), common_objective(attacks)
        self.needs_gradient = any(attack.needs_gradient for attack in attacks)
        self.sees_values = any(attack.sees_values for attack in attacks)

    def __call__(self, objective: Objective, images: Tensor, eps: float, generator: torch.Generator) -> MembersAttacked:
        """Attack one batch; see `Attack`. The trace is empty."""
        ledger = Ledger(objective, images)
        members = {}
        for attack in self.attacks:
            index = ledger.alive
            before = ledger.broken.clone()
            if len(index):
                found = attack(objective.select(index), images[index], eps, generator)
                ledger.merge(index, found if attack.sees_values else revalued(found, objective.select(index)))
            members[attack.name] = ledger.broken & ~before
        return MembersAttacked(**vars(ledger.result()), members=members)
