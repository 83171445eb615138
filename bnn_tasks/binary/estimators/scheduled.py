"""Surrogate gradients that sharpen as training goes on."""

import math

import torch
from torch import Tensor

from bnn_tasks.binary.estimators.base import Estimator
from bnn_tasks.binary.progress import Scheduled, check_range, exponential


class EDE(Scheduled, Estimator):
    """Error decay estimator: g(x) = k·t·(1 - tanh²(tx)), k = max(1/t, 1) (Qin et al., IR-Net, 2020, eqs. 9-11).

    t = t_min^(1-p)·t_max^p with the progress p: first nearly the identity (k·t = 1), at last close to the sign itself.

    Args:
        t_min: t at the start, > 0. The authors' ResNet-20 trainer has 1e-3, the paper and VGG-small 1e-1.
        t_max: t at the end, > 0.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, t_min: float = 1e-1, t_max: float = 10.0) -> None:
        super().__init__()
        check_range("t_min", t_min, "t_max", t_max)
        self.t_min, self.t_max = t_min, t_max

    def sharpness(self) -> tuple[Tensor, Tensor]:
        """(t, k) at the present progress."""
        t = exponential(self.progress, self.t_min, self.t_max)
        return t, torch.clamp(1 / t, min=1.0)

    def surrogate_gradient(self, x: Tensor) -> Tensor:
        """k·t·(1 - tanh²(tx))."""
        t, k = self.sharpness()
        return (1 - torch.tanh(x * t).square()) * (k * t)


class TrainingAware(EDE):
    """RBNN's training-aware gradient: g(x) = k·max(2·sqrt(t²/2) - abs(t²·x), 0) (Lin et al., Rotated BNN, 2020).

    A tent of half-width sqrt(2)/t; t and k as for `EDE`.

    Args:
        t_min: t at the start, > 0; the authors' 1e-2.
        t_max: t at the end, > 0; the authors' 10.
    """

    def __init__(self, t_min: float = 1e-2, t_max: float = 10.0) -> None:
        super().__init__(t_min, t_max)

    def surrogate_gradient(self, x: Tensor) -> Tensor:
        """k·max(sqrt(2)·t - t²·abs(x), 0)."""
        t, k = self.sharpness()
        return (math.sqrt(2) * t - t * t * x.abs()).clamp_min(0) * k


class DSQ(Scheduled, Estimator):
    """Derivative of differentiable soft quantisation's φ on [-1, 1] (Gong et al., DSQ, 2019; one interval, Δ = 2).

    φ(x) = s·tanh(kx), s = 1/(1-α), k = (1/Δ)·ln(2/α - 1), so φ(±1) = ±1 and g = s·k·(1 - tanh²(kx)), 0 beyond abs(x) = 1. As
    α -> 0, φ becomes the sign. α falls as α_start^(1-p)·α_end^p with the progress p; the weights and activations of the method
    ``dsq`` learn their α instead.

    Args:
        alpha_start: α at the start, in (0, 1); the paper's initial value 0.2.
        alpha_end: α at the end, in (0, 1).

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, alpha_start: float = 0.2, alpha_end: float = 0.02) -> None:
        super().__init__()
        for name, value in (("alpha_start", alpha_start), ("alpha_end", alpha_end)):
            if not 0 < value < 1:
                raise ValueError(f"Expected `{name}` to be in (0, 1), but got {value}.")
        self.alpha_start, self.alpha_end = alpha_start, alpha_end

    def surrogate_gradient(self, x: Tensor) -> Tensor:
        """s·k·(1 - tanh²(kx)) where abs(x) <= 1, else 0."""
        alpha = exponential(self.progress, self.alpha_start, self.alpha_end)
        k = torch.log(2 / alpha - 1) / 2
        slope = (1 - torch.tanh(x * k).square()) * (k / (1 - alpha))
        return slope * (x.abs() <= 1)
