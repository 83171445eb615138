"""Weight binarisers: the latent weight W in, ±1 weights B and a scale per output channel out (W ≈ scale · B)."""

from typing import Any

import torch
from torch import Tensor, nn

from bnn_tasks.binary.estimators import Estimator, sign


class WeightBinarizer(nn.Module):
    """Base class of the rules W -> (B, scale).

    Args:
        estimator: the surrogate gradient of sign(W).
    """

    def __init__(self, estimator: Estimator) -> None:
        super().__init__()
        self.estimator = estimator

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        """Binarise a latent weight.

        Args:
            weight: (O, ...) real.

        Returns:
            B of the same shape with values ±1, and the scale (O,), None where it is 1.
        """
        raise NotImplementedError


def _channel_mean(weight: Tensor) -> Tensor:
    return weight.abs().mean(dim=tuple(range(1, weight.dim())))


class SignWeight(WeightBinarizer):
    """B = sign(W), no scale (Courbariaux et al., BNN, 2016)."""

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        """(sign(W), None)."""
        return self.estimator(weight), None


class AnalyticScale(WeightBinarizer):
    """B = sign(W), scale_o = ‖W_o‖₁/n: the minimiser of ‖W_o - α·B_o‖² (Rastegari et al., XNOR-Net, 2016, eq. 6).

    The scale is differentiated too, so dL/dW is the exact chain rule (which the paper writes in shorthand):
    α·g(W_i)·G_i + sign(W_i)/n · Σ_j G_j·B_j, with G = dL/d(αB).
    """

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        """(sign(W), mean(abs(W)) per output channel)."""
        return self.estimator(weight), _channel_mean(weight)


class _MagnitudeAwareSign(torch.autograd.Function):
    """sign(W) whose gradient is divided by the scale, so that the scale cancels in dL/dW."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor, estimator: Estimator) -> Tensor:
        ctx.save_for_backward(weight, scale)
        ctx.estimator = estimator
        return sign(weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        weight, scale = ctx.saved_tensors
        # An all-zero filter has scale 0 and no gradient to scale back.
        inverse = torch.where(scale > 0, 1 / scale, 0).view(-1, *[1] * (weight.dim() - 1))
        return grad * inverse * ctx.estimator.surrogate_gradient(weight), None, None


class MagnitudeAware(WeightBinarizer):
    """B = sign(W), scale_o = mean(abs(W_o)) held constant in backward (Liu et al., Bi-Real Net, 2018, §3.2).

    dL/dW = g(W)·dL/d(scale·B): the gradient does not carry the scale. As `AnalyticScale`, forward.
    """

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        """(sign(W), mean(abs(W)) per output channel, detached)."""
        scale = _channel_mean(weight.detach())
        return _MagnitudeAwareSign.apply(weight, scale, self.estimator), scale


class LearnedScale(WeightBinarizer):
    """B = sign(W), scale_o = Γ_o learned by backpropagation (Bulat & Tzimiropoulos, XNOR-Net++, 2019, case 1).

    Args:
        out_channels: O.
        estimator: the surrogate gradient of sign(W).
    """

    def __init__(self, out_channels: int, estimator: Estimator) -> None:
        super().__init__(estimator)
        self.scale = nn.Parameter(torch.ones(out_channels))

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        """(sign(W), Γ)."""
        return self.estimator(weight), self.scale
