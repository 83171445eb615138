"""Attacks on a classifier that raise another loss than the objective's they are given."""

import torch

from bnn_tasks.robustness.attacks.base import Attack, Attacked, require_objective
from bnn_tasks.robustness.attacks.ledger import Ledger
from bnn_tasks.robustness.dlr import TargetedDLRObjective
from bnn_tasks.robustness.objective import ClassificationObjective, Objective, classification


def revalued(found: Attacked, objective: Objective) -> Attacked:
    """`found` with its losses measured by `objective`, for books that compare attacks; one more query of every image.

    Args:
        found: of the batch that `objective` is bound to.
        objective: the one that the caller was given.
    """
    with torch.no_grad():
        losses, _ = objective.judged(found.images)
    return Attacked(found.images, found.broken, losses, found.queries + 1, found.trace)


class Raising(Attack):
    """An attack that raises a loss of its own: APGD-DLR is ``Raising(APGD(), DLRObjective)``.

    So attacks with several losses make one `WorstCase`. The trace is the raised loss's.

    Args:
        attack: the attack.
        kind: class of an objective whose arguments are (model, labels).

    Raises:
        TypeError: `attack` cannot be given such an objective.
    """

    objective = ClassificationObjective

    def __init__(self, attack: Attack, kind: type[ClassificationObjective]) -> None:
        require_objective(attack, kind)
        self.attack, self.kind = attack, kind
        self.name = f"{attack.name} {kind.__name__.removesuffix('Objective')}"
        self.norm = attack.norm
        self.needs_gradient, self.sees_values = attack.needs_gradient, attack.sees_values

    def __call__(self, objective: Objective, images: torch.Tensor, eps: float, generator: torch.Generator) -> Attacked:
        """Attack one batch; see `Attack`.

        Raises:
            TypeError: the objective is not a classifier's.
        """
        given = classification(objective)
        return revalued(self.attack(self.kind(given.model, given.labels), images, eps, generator), given)


class TargetedDLR(Attack):
    """An attack towards each of the likeliest wrong classes in turn: APGD-T is ``TargetedDLR(APGD())``.

    Croce and Hein, AutoAttack, 2020: the targeted difference of logits ratio, 9 targets. The survivors of a target go on to the
    next. Targets are the largest wrong logits of the unperturbed image, where AutoAttack has them too.

    Args:
        attack: the attack.
        targets: >= 1; at most the classes less one.

    Raises:
        TypeError: `attack` cannot be given a `TargetedDLRObjective`.
        ValueError: `targets` is out of range.
    """

    objective = ClassificationObjective

    def __init__(self, attack: Attack, targets: int = 9) -> None:
        if targets < 1:
            raise ValueError(f"Expected `targets` to be >= 1, but got {targets}.")
        require_objective(attack, TargetedDLRObjective)
        self.attack, self.targets = attack, targets
        self.name = f"{attack.name} targeted DLR"
        self.norm = attack.norm
        self.needs_gradient, self.sees_values = attack.needs_gradient, attack.sees_values

    def __call__(self, objective: Objective, images: torch.Tensor, eps: float, generator: torch.Generator) -> Attacked:
        """Attack one batch; see `Attack`. The trace is the first target's.

        Raises:
            TypeError: the objective is not a classifier's.
            ValueError: the model has fewer than four classes, or no more than `targets`.
        """
        given = classification(objective)
        with torch.no_grad():
            logits = given.model(images)
        classes = logits.shape[1]
        least = max(self.targets + 1, 4)
        if classes < least:
            raise ValueError(
                f"Expected a model of >= {least} classes for {self.targets} target(s), but got {classes}. "
                "Cure: fewer targets, or for fewer than 4 classes an attack without DLR."
            )
        others = logits.scatter(1, given.labels[:, None], -torch.inf).argsort(1, descending=True)
        ledger = Ledger(given, images)
        for rank in range(self.targets):
            index = ledger.alive
            if not len(index):
                break
            aimed = TargetedDLRObjective(given.model, given.labels[index], others[index, rank])
            found = self.attack(aimed, images[index], eps, generator)
            ledger.trace = ledger.trace or found.trace
            ledger.merge(index, revalued(found, given.select(index)))
        return ledger.result()
