"""Surrogate gradients that stay the same during training."""

import math

import torch
from torch import Tensor

from bnn_tasks.binary.estimators.base import Estimator


def _positive(name: str, value: float) -> float:
    if not value > 0 or math.isinf(value):
        raise ValueError(f"Expected `{name}` to be a finite number > 0, but got {value}.")
    return value


class STE(Estimator):
    """Identity straight-through estimator: g(x) = 1 (Courbariaux et al., BinaryConnect, 2015)."""

    def surrogate_gradient(self, x: Tensor) -> Tensor:
        """g(x) = 1."""
        return torch.ones_like(x)

    def multiply_(self, grad: Tensor, x: Tensor) -> Tensor:
        """`grad` itself."""
        return grad


class ClippedSTE(Estimator):
    """Clipped straight-through estimator: g(x) = 1 if abs(x) <= c, else 0 (Courbariaux et al., BNN, 2016, eq. 4).

    Args:
        clip: c > 0; the paper's 1.

    Raises:
        ValueError: `clip` is out of range.
    """

    def __init__(self, clip: float = 1.0) -> None:
        super().__init__()
        self.clip = _positive("clip", clip)

    def surrogate_gradient(self, x: Tensor) -> Tensor:
        """g(x) = 1 where abs(x) <= c, else 0."""
        return (x.abs() <= self.clip).to(x.dtype)

    def multiply_(self, grad: Tensor, x: Tensor) -> Tensor:
        """In one pass."""
        above = self.clip * (1 + torch.finfo(x.dtype).eps)  # aten's bounds are open, the clipped STE's closed
        result: Tensor = torch.ops.aten.hardtanh_backward.grad_input(grad, x, -above, above, grad_input=grad)
        return result


class ApproxSign(Estimator):
    """Derivative of the piecewise quadratic ApproxSign: g(x) = max(0, 2 - 2·abs(x)) (Liu et al., Bi-Real Net, 2018).

    ReCU (Xu et al., 2021) uses the same tent.
    """

    def surrogate_gradient(self, x: Tensor) -> Tensor:
        """g(x) = max(0, 2 - 2·abs(x))."""
        return x.abs().mul_(-2).add_(2).clamp_min_(0)

    def multiply_(self, grad: Tensor, x: Tensor) -> Tensor:
        """In three passes."""
        # With these constants ELU's backward is grad·(-2)·r where r <= 0, and 0 beyond.
        beyond = x.abs().sub_(1)
        result: Tensor = torch.ops.aten.elu_backward.grad_input(grad, 0, 0, -2, True, beyond, grad_input=grad)
        return result


class SignSwish(Estimator):
    """Derivative of SignSwish, SS_β(x) = 2σ(βx)·(1 + βx·(1 - σ(βx))) - 1 (Darabi et al., BNN+, 2018).

    g(x) = β·(2 - βx·tanh(βx/2)) / (1 + cosh(βx)), written with s = σ(βx) as 2β·s(1-s)·(2 + βx·(1-2s)), which cannot overflow.
    It is negative beyond abs(βx) ≈ 2.3994: the surrogate is not monotone.

    Args:
        beta: β > 0; 5 is the default of the survey's implementations.

    Raises:
        ValueError: `beta` is out of range.
    """

    def __init__(self, beta: float = 5.0) -> None:
        super().__init__()
        self.beta = _positive("beta", beta)

    def surrogate_gradient(self, x: Tensor) -> Tensor:
        """2β·s(1-s)·(2 + βx·(1-2s)), s = σ(βx)."""
        z = self.beta * x
        s = torch.sigmoid(z)
        # s(1-s) is 0 where z is huge; clamping z keeps 0·inf = nan out.
        return 2 * self.beta * s * (1 - s) * (2 + z.clamp(-1e4, 1e4) * (1 - 2 * s))


class Tanh(Estimator):
    """Derivative of tanh(kx): g(x) = k·(1 - tanh²(kx)); sharper as k grows, 2 in all.

    Args:
        k: sharpness, > 0.

    Raises:
        ValueError: `k` is out of range.
    """

    def __init__(self, k: float = 1.0) -> None:
        super().__init__()
        self.k = _positive("k", k)

    def surrogate_gradient(self, x: Tensor) -> Tensor:
        """k·(1 - tanh²(kx))."""
        return self.k * (1 - torch.tanh(self.k * x).square())


class FDA(Estimator):
    """Derivative of the sign's truncated Fourier series, (4/π)·Σ_i sin((2i+1)ωx)/(2i+1) (Xu et al., FDA-BNN, 2021).

    g(x) = (4ω/π)·Σ_{i=0}^{N-1} cos((2i+1)ωx). The paper adds a small noise-adaptation network, which is not built here.
    Beyond a quarter of its period, abs(x) > π/(2ω), the series runs backwards: the gradient there is set to 0.

    Args:
        terms: N >= 1.
        omega: ω > 0. Our choice, π/4, puts that border at abs(x) = 2.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, terms: int = 10, omega: float = math.pi / 4) -> None:
        super().__init__()
        if terms < 1:
            raise ValueError(f"Expected `terms` to be >= 1, but got {terms}.")
        self.terms, self.omega = terms, _positive("omega", omega)

    def surrogate_gradient(self, x: Tensor) -> Tensor:
        """(4ω/π)·Σ cos((2i+1)ωx) for abs(x) <= π/(2ω), else 0."""
        # In float32: the sum of N cosines cancels, which bfloat16 cannot resolve.
        z = self.omega * x.float()
        total = torch.zeros_like(z)
        for i in range(self.terms):
            total += torch.cos((2 * i + 1) * z)
        inside = z.abs() <= math.pi / 2
        return (4 * self.omega / math.pi * total * inside).to(x.dtype)
