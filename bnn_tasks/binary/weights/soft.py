"""Weights that are real at first and signs at the end."""

import torch
from torch import Tensor

from bnn_tasks.binary.estimators import STE, sign
from bnn_tasks.binary.progress import Scheduled, check_range, exponential
from bnn_tasks.binary.weights.base import Basis, WeightBinarizer


class TanhWeight(Scheduled, WeightBinarizer):
    """W̃ = tanh(ν·W), forward too; ν grows with the progress, and at its end W̃ = sign(W).

    Lahoud et al., Self-Binarizing Networks, 2019.

    Args:
        nu_start: ν at the start, > 0.
        nu_end: ν at the end, > 0; there the sign takes over.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, nu_start: float = 1.0, nu_end: float = 1000.0) -> None:
        super().__init__()
        check_range("nu_start", nu_start, "nu_end", nu_end)
        self.nu_start, self.nu_end = nu_start, nu_end

    @property
    def ready(self) -> bool:
        """At the end of training."""
        return bool(self.progress >= 1)

    def forward(self, weight: Tensor) -> Tensor:
        """tanh(ν·W); its sign, with the gradient of the tanh, once ``ready``."""
        soft = torch.tanh(weight * exponential(self.progress, self.nu_start, self.nu_end))
        return sign(weight) + (soft - soft.detach()) if self.ready else soft

    def bases(self, weight: Tensor) -> list[Basis]:
        """One, without scale."""
        return [Basis(sign(weight))]


class BitwiseWeight(Scheduled, WeightBinarizer):
    """Phase 1: W̃ = tanh(W). Phase 2: W̃ = -1, 0, +1, gradient 1 (Kim & Smaragdis, Bitwise Neural Networks, 2016).

    In phase 2 the share λ of the layer's smallest weights is 0: W̃ = 0 where abs(W) < β, β being the λ-quantile of abs(W). The
    gradients are those of the bitwise net ("noisy backpropagation"): no derivative of the sign, no tanh. A zero is the mean of
    two bases that disagree, sign(W + β) and sign(W - β).

    Args:
        sparsity: λ, in [0, 1).
        switch: progress at which phase 2 begins, in (0, 1].

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, sparsity: float = 0.0, switch: float = 0.5) -> None:
        super().__init__()
        if not 0 <= sparsity < 1 or not 0 < switch <= 1:
            raise ValueError(f"Expected `sparsity` in [0, 1) and `switch` in (0, 1], but got {sparsity} and {switch}.")
        self.sparsity, self.switch = sparsity, switch
        self.estimator = STE()

    @property
    def ready(self) -> bool:
        """In phase 2."""
        return bool(self.progress >= self.switch)

    def zeros(self, weight: Tensor) -> Tensor:
        """Where W̃ is 0: the round(λ·n) smallest of a weight's n values."""
        flat = weight.detach().abs().flatten()
        mask = torch.zeros_like(flat, dtype=torch.bool)
        mask[flat.argsort()[: round(self.sparsity * flat.numel())]] = True
        return mask.view_as(weight)

    def forward(self, weight: Tensor) -> Tensor:
        """tanh(W), or the ternary weight."""
        if not self.ready:
            return torch.tanh(weight)
        signs: Tensor = self.estimator(weight)
        return signs - (sign(weight) * self.zeros(weight) if self.sparsity else 0)

    def bases(self, weight: Tensor) -> list[Basis]:
        """One, or two of scale 1/2 where there are zeros."""
        if not self.sparsity:
            return [Basis(sign(weight))]
        signs, zero = sign(weight), self.zeros(weight)
        half = torch.full((len(weight),), 0.5)
        return [Basis(torch.where(zero, 1, signs), half), Basis(torch.where(zero, -1, signs), half.clone())]
