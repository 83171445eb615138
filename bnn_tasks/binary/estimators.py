"""The sign function and the surrogate gradients that replace its derivative.

Forward, always: sign(x) = +1 for x >= 0 (so sign(0) = sign(-0.0) = +1), -1 below.
Backward: dL/dx = dL/dy · g(x), where g is the estimator's ``surrogate_gradient``.
"""

from typing import Any

import torch
from torch import Tensor, nn


def sign(x: Tensor) -> Tensor:
    """Sign with sign(0) = sign(-0.0) = +1; the result has the dtype of `x` and is never zero.

    Args:
        x: any shape, any real dtype.
    """
    x = x.detach()
    # Written straight into the result's dtype: on a CPU ten times as fast as torch.where.
    return torch.ge(x, 0, out=torch.empty_like(x)).mul_(2).sub_(1)


class _SignWithSurrogate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, estimator: "Estimator") -> Tensor:
        ctx.save_for_backward(x)
        ctx.estimator = estimator
        return sign(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grad * ctx.estimator.surrogate_gradient(x), None


class Estimator(nn.Module):
    """sign(x) forward, ``surrogate_gradient`` backward. Stateless: one object may serve many layers."""

    def surrogate_gradient(self, x: Tensor) -> Tensor:
        """g(x), the stand-in for d sign/dx, elementwise.

        Args:
            x: the value whose sign was taken, any shape.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Binarise `x`, any shape, to ±1 of the same dtype."""
        result: Tensor = _SignWithSurrogate.apply(x, self)
        return result


class STE(Estimator):
    """Identity straight-through estimator: g(x) = 1 (Courbariaux et al., BinaryConnect, 2015)."""

    def surrogate_gradient(self, x: Tensor) -> Tensor:
        """g(x) = 1."""
        return torch.ones_like(x)


class ClippedSTE(Estimator):
    """Clipped straight-through estimator: g(x) = 1 if abs(x) <= 1, else 0 (Courbariaux et al., BNN, 2016, eq. 4)."""

    def surrogate_gradient(self, x: Tensor) -> Tensor:
        """g(x) = 1 where abs(x) <= 1, else 0."""
        return (x.abs() <= 1).to(x.dtype)


class ApproxSign(Estimator):
    """Derivative of the piecewise quadratic ApproxSign: g(x) = max(0, 2 - 2·abs(x)) (Liu et al., Bi-Real Net, 2018)."""

    def surrogate_gradient(self, x: Tensor) -> Tensor:
        """g(x) = max(0, 2 - 2·abs(x))."""
        return x.abs().mul_(-2).add_(2).clamp_min_(0)
