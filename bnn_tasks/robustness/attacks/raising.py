"""Attacks on a classifier that raise another loss than the objective's they are given."""

import torch

from bnn_tasks.robustness.attacks.base import Attack, Attacked
from bnn_tasks.robustness.attacks.ledger import Ledger
from bnn_tasks.robustness.attacks.wrapped import WrappedAttack, revalued
from bnn_tasks.robustness.dlr import TargetedDLRObjective
from bnn_tasks.robustness.objective import ClassificationObjective, Objective, of_kind


class Raising(WrappedAttack):
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
        super().__init__(attack, f"{attack.name} {kind.__name__.removesuffix('Objective')}", kind)
        self.kind = kind

    def __call__(self, objective: Objective, images: torch.Tensor, eps: float, generator: torch.Generator) -> Attacked:
        """Attack one batch; see `Attack`.

        Raises:
            TypeError: the objective is not a classifier's.
        """
        given = of_kind(objective, ClassificationObjective)
        return revalued(self.attack(self.kind(given.model, given.labels), images, eps, generator), given)


class TargetedDLR(WrappedAttack):
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
        super().__init__(attack, f"{attack.name} targeted DLR", TargetedDLRObjective)
        self.targets = targets

    def __call__(self, objective: Objective, images: torch.Tensor, eps: float, generator: torch.Generator) -> Attacked:
        """Attack one batch; see `Attack`. The trace is the first target's.

        Raises:
            TypeError: the objective is not a classifier's.
            ValueError: the model has fewer than four classes, or no more than `targets`.
        """
        given = of_kind(objective, ClassificationObjective)
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
