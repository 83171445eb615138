"""Activations that are real at first and signs at the end."""

import torch
from torch import Tensor

from bnn_tasks.binary.activations.base import ActivationBinarizer, Plane
from bnn_tasks.binary.attack_surrogate import in_force, replacement
from bnn_tasks.binary.estimators import STE, sign
from bnn_tasks.binary.progress import Scheduled, check_range, exponential
from bnn_tasks.binary.terms import Threshold


class TanhActivation(Scheduled, ActivationBinarizer):
    """A = tanh(ν·x), forward too; ν grows with the progress, and at its end A = sign(x).

    Lahoud et al., Self-Binarizing Networks, 2019.

    Args:
        nu_start: ν at the start, > 0.
        nu_end: ν at the end, > 0; there the sign takes over.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, nu_start: float = 1.0, nu_end: float = 100.0) -> None:
        super().__init__()
        check_range("nu_start", nu_start, "nu_end", nu_end)
        self.nu_start, self.nu_end = nu_start, nu_end

    @property
    def ready(self) -> bool:
        """At the end of training."""
        return bool(self.progress >= 1)

    def forward(self, x: Tensor) -> Tensor:
        """tanh(ν·x) of `x`, any shape; its sign, with the gradient of the tanh, once ``ready``."""
        other = replacement(x) if self.ready else None
        if other is not None:
            signs: Tensor = other(x)
            return signs
        soft = torch.tanh(x * exponential(self.progress, self.nu_start, self.nu_end))
        return sign(x) + (soft - soft.detach()) if self.ready else soft

    def planes(self) -> list[Plane]:
        """One, with threshold zero."""
        return [Plane(Threshold())]


class TwoPhaseSign(Scheduled, ActivationBinarizer):
    """Phase 1: A = tanh(x). Phase 2: A = sign(x), gradient 1 (Kim & Smaragdis, Bitwise Neural Networks, 2016).

    Args:
        switch: progress at which phase 2 begins, in (0, 1].

    Raises:
        ValueError: `switch` is out of range.
    """

    def __init__(self, switch: float = 0.5) -> None:
        super().__init__()
        if not 0 < switch <= 1:
            raise ValueError(f"Expected `switch` to be in (0, 1], but got {switch}.")
        self.switch = switch
        self.estimator = STE()

    @property
    def ready(self) -> bool:
        """In phase 2."""
        return bool(self.progress >= self.switch)

    def forward(self, x: Tensor) -> Tensor:
        """Squash or binarise `x`, any shape."""
        result: Tensor = in_force(self.estimator, x)(x) if self.ready else torch.tanh(x)
        return result

    def planes(self) -> list[Plane]:
        """One, with threshold zero."""
        return [Plane(Threshold())]
