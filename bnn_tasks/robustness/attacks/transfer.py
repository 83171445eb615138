"""Attacks made on one model and judged on another."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bnn_tasks.robustness.attacks.base import Attack, Attacked, require_values
from bnn_tasks.robustness.attacks.ledger import Ledger
from bnn_tasks.robustness.attacks.unbroken import Unbroken
from bnn_tasks.robustness.attacks.wrapped import WrappedAttack
from bnn_tasks.robustness.objective import ClassificationObjective, Model, Objective, check_evaluated, of_kind


class MeanLogits:
    """An ensemble: the mean of its members' logits (Dong et al., MI-FGSM, 2018, section 3.3: fusing logits transfers best).

    Args:
        models: images in [0, 1] -> logits (B, K).

    Raises:
        ValueError: there is none, or one is in train mode.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        if not models:
            raise ValueError("Expected `models` to be at least one, but got none.")
        for model in models:
            check_evaluated(model)
        self.models = list(models)

    def __call__(self, images: Tensor) -> Tensor:
        """(B, K)."""
        return torch.stack([model(images).float() for model in self.models]).mean(0)


class Transfer(WrappedAttack):
    """Perturb on other models, without knowledge of the victim, and judge on it (Papernot et al., Practical Black-Box, 2017).

    The victim sees the final images once and is not differentiated: an exported artifact can be one.

    Args:
        attack: of any objective, as PGD or MI-FGSM are; it climbs the sources' loss to its last step.
        sources: models in eval mode, images in [0, 1] -> logits; of several, the mean logits.
        name: in reports, as "real twin".

    Raises:
        TypeError: `attack` is not one of any objective.
        ValueError: there is no source, one is in train mode, or `attack` asks for labels alone.
    """

    objective = ClassificationObjective

    def __init__(self, attack: Attack, sources: Sequence[Model], name: str) -> None:
        super().__init__(attack, f"transfer from {name}", Unbroken)
        require_values(attack)
        self.source = MeanLogits(sources)
        self.needs_gradient = False  # of the victim

    def __call__(self, objective: Objective, images: Tensor, eps: float, generator: torch.Generator) -> Attacked:
        """Attack one batch; see `Attack`. The trace is the sources'; ``queries`` counts the victim's.

        Raises:
            TypeError: the objective is not a classifier's.
        """
        ledger = Ledger(objective, images)
        index = ledger.alive
        if len(index):
            source = of_kind(objective, ClassificationObjective).select(index).with_model(self.source)
            found = self.attack(Unbroken(source), images[index], eps, generator)
            ledger.trace = found.trace
            ledger.try_out(index, found.images)
        return ledger.result()
