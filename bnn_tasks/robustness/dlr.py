"""The difference of logits ratio: a loss that neither the scale nor an offset of the logits changes."""

from typing import Any

import torch
from torch import Tensor

from bnn_tasks.robustness.objective import ClassificationObjective, Model

_TINY = 1e-12  # the authors': three equal logits give 0, not NaN


def _check_classes(logits: Tensor, least: int, what: str) -> None:
    if logits.shape[1] < least:
        raise ValueError(
            f"Expected a model of >= {least} classes for {what}, but got {logits.shape[1]}. Cure: CrossEntropyObjective or "
            "MarginObjective, which two classes are enough for."
        )


class DLRObjective(ClassificationObjective):
    """(max_{k≠y} z_k - z_y) / (z_π1 - z_π3), π sorting z downwards (Croce and Hein, AutoAttack, 2020, eq. 6).

    Large or saturated logits cannot hide its gradient, as they do the softmax's.
    """

    def loss(self, logits: Tensor) -> Tensor:
        """(B,) of `logits`, (B, K).

        Raises:
            ValueError: K < 3.
        """
        _check_classes(logits, 3, "the difference of logits ratio")
        top = logits.topk(3, dim=1).values
        own = logits.gather(1, self.labels[:, None])[:, 0]
        others = logits.scatter(1, self.labels[:, None], -torch.inf).amax(1)
        return (others - own) / (top[:, 0] - top[:, 2] + _TINY)


class TargetedDLRObjective(ClassificationObjective):
    """(z_t - z_y) / (z_π1 - (z_π3 + z_π4)/2), towards class t (Croce and Hein, AutoAttack, 2020, eq. 7).

    Lost is an image as before: any label but its own.

    Args:
        model: images in [0, 1] -> logits (B, K).
        labels: y, (B,) int64.
        targets: t, (B,) int64.
    """

    def __init__(self, model: Model, labels: Tensor, targets: Tensor) -> None:
        super().__init__(model, labels)
        self.targets = targets

    def arguments(self, index: Tensor) -> tuple[Any, ...]:
        """Labels and targets."""
        return self.labels[index], self.targets[index]

    def loss(self, logits: Tensor) -> Tensor:
        """(B,) of `logits`, (B, K).

        Raises:
            ValueError: K < 4.
        """
        _check_classes(logits, 4, "the targeted difference of logits ratio")
        top = logits.topk(4, dim=1).values
        own, target = (logits.gather(1, index[:, None])[:, 0] for index in (self.labels, self.targets))
        return (target - own) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + _TINY)
