"""Activation binarisers: a real tensor in, ±1 out, and the threshold rule that the runtime applies instead."""

import torch
from torch import Tensor, nn

from bnn_tasks.binary.estimators import Estimator
from bnn_tasks.binary.terms import Threshold


class ActivationBinarizer(nn.Module):
    """Base class: ``forward`` gives ±1 values, ``threshold`` the rule for the same values without torch."""

    def forward(self, x: Tensor) -> Tensor:
        """Binarise `x`, (N, C, ...), to ±1."""
        raise NotImplementedError

    def threshold(self) -> Threshold:
        """The rule A = +1 where x >= threshold."""
        raise NotImplementedError


class SignActivation(ActivationBinarizer):
    """A = sign(x) (Courbariaux et al., BNN, 2016).

    Args:
        estimator: the surrogate gradient.
    """

    def __init__(self, estimator: Estimator) -> None:
        super().__init__()
        self.estimator = estimator

    def forward(self, x: Tensor) -> Tensor:
        """Binarise `x`, any shape."""
        signs: Tensor = self.estimator(x)
        return signs

    def threshold(self) -> Threshold:
        """Zero for every channel."""
        return Threshold()


class RSign(ActivationBinarizer):
    """A = sign(x - θ_c) with one learned threshold a channel (Liu et al., ReActNet, 2020, eq. 1).

    Args:
        channels: C, the size of dimension 1 of the input.
        estimator: the surrogate gradient, evaluated at x - θ.
    """

    def __init__(self, channels: int, estimator: Estimator) -> None:
        super().__init__()
        self.estimator = estimator
        self.theta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Binarise `x`, (N, C, ...)."""
        theta = self.theta.to(x.dtype).view(-1, *[1] * (x.dim() - 2))
        signs: Tensor = self.estimator(x - theta)
        return signs

    def threshold(self) -> Threshold:
        """θ; in IEEE arithmetic x - θ >= 0 and x >= θ are the same statement."""
        return Threshold(self.theta.detach().float().clone())
