"""W̃ = α·sign(W) with at most one scale a filter, held constant, differentiated, or learned."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bnn_tasks.binary.estimators import STE, Estimator, get_estimator, sign
from bnn_tasks.binary.weights.base import Basis, WeightBinarizer, channel_mean, per_filter, scaled_sign


class SignWeight(WeightBinarizer):
    """W̃ = sign(W) (Courbariaux et al., BinaryConnect, 2015, and BNN, 2016).

    Args:
        estimator: the surrogate gradient of sign(W).
        clip: c; after every optimiser step the latent weight is clipped to [-c, c], as both papers do with c = 1. None does
            not.
    """

    def __init__(self, estimator: str | Estimator, clip: float | None = None) -> None:
        super().__init__()
        self.estimator, self.clip = get_estimator(estimator), clip

    def forward(self, weight: Tensor) -> Tensor:
        """sign(W)."""
        signs: Tensor = self.estimator(weight)
        return signs

    def bases(self, weight: Tensor) -> list[Basis]:
        """One, without scale."""
        return [Basis(sign(weight))]

    @torch.no_grad()
    def after_step(self, weight: Tensor, state: Mapping[str, Any]) -> None:
        """Clip."""
        if self.clip is not None:
            weight.clamp_(-self.clip, self.clip)


class StochasticSign(SignWeight):
    """B = +1 with probability clip((W + 1)/2, 0, 1) in training, gradient 1 (Courbariaux et al., BinaryConnect, 2015, §2.3).

    In evaluation B = sign(W), so that the net is binary there too; the paper evaluates its stochastic nets with real W.
    """

    def __init__(self) -> None:
        super().__init__(STE(), clip=1.0)

    def forward(self, weight: Tensor) -> Tensor:
        """A draw in training, else sign(W)."""
        if not self.training:
            return super().forward(weight)
        drawn = torch.rand_like(weight) < (weight.detach() + 1) / 2
        return 2 * drawn - 1 + (weight - weight.detach())


class BopWeight(SignWeight):
    """W̃ = sign(W), gradient 1, of weights without latent values: the optimiser `Bop` holds them at ±1 and flips them.

    Helwegen et al., Latent Weights Do Not Exist, 2019.
    """

    def __init__(self) -> None:
        super().__init__(STE())

    def initial_latent(self, weight: Tensor) -> Tensor:
        """sign(W)."""
        return sign(weight)


class AnalyticScale(WeightBinarizer):
    """W̃_o = α_o·sign(W_o), α_o = ‖W_o‖₁/n: the minimiser of ‖W_o - α·B_o‖² (Rastegari et al., XNOR-Net, 2016, eq. 6).

    The scale is differentiated too, so dL/dW is the exact chain rule (which the paper writes in shorthand):
    α·g(W_i)·G_i + sign(W_i)/n · Σ_j G_j·B_j, with G = dL/dW̃.

    Args:
        estimator: the surrogate gradient of sign(W).
        centred: whether the mean of every filter is subtracted first, which makes its bits balanced.
    """

    def __init__(self, estimator: str | Estimator, centred: bool = False) -> None:
        super().__init__()
        self.estimator, self.centred = get_estimator(estimator), centred

    def _centre(self, weight: Tensor) -> Tensor:
        return weight - weight.mean(dim=tuple(range(1, weight.dim())), keepdim=True) if self.centred else weight

    def forward(self, weight: Tensor) -> Tensor:
        """mean(abs(W))·sign(W) per filter."""
        weight = self._centre(weight)
        signs: Tensor = self.estimator(weight)
        return signs * per_filter(channel_mean(weight), weight)

    def bases(self, weight: Tensor) -> list[Basis]:
        """One."""
        weight = self._centre(weight)
        return [Basis(sign(weight), channel_mean(weight))]


class MagnitudeAware(WeightBinarizer):
    """W̃_o = α_o·sign(W_o), α_o = mean(abs(W_o)) held constant in backward (Liu et al., Bi-Real Net, 2018, §3.2).

    dL/dW = g(W)·dL/dW̃: the gradient does not carry the scale. As `AnalyticScale`, forward.

    Args:
        estimator: the surrogate gradient of sign(W).
    """

    def __init__(self, estimator: str | Estimator) -> None:
        super().__init__()
        self.estimator = get_estimator(estimator)

    def forward(self, weight: Tensor) -> Tensor:
        """mean(abs(W))·sign(W) per filter."""
        return scaled_sign(weight, per_filter(channel_mean(weight.detach()), weight), self.estimator)

    def bases(self, weight: Tensor) -> list[Basis]:
        """One."""
        return [Basis(sign(weight), channel_mean(weight))]


class LayerScale(WeightBinarizer):
    """W̃ = E·sign(W), E = mean(abs(W)) over the whole layer; dL/dW = dL/dW̃ (Zhou et al., DoReFa-Net, 2016, eq. 7).

    GroupNet (Zhuang et al., 2019) binarises its branches so too.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """mean(abs(W))·sign(W)."""
        return scaled_sign(weight, weight.detach().abs().mean(), STE())

    def bases(self, weight: Tensor) -> list[Basis]:
        """One; every filter has the same scale."""
        return [Basis(sign(weight), weight.abs().mean().expand(len(weight)))]


class LearnedScale(WeightBinarizer):
    """W̃_o = Γ_o·sign(W_o), Γ_o learned by backpropagation (Bulat & Tzimiropoulos, XNOR-Net++, 2019, case 1).

    Args:
        out_channels: O.
        estimator: the surrogate gradient of sign(W).
    """

    def __init__(self, out_channels: int, estimator: str | Estimator) -> None:
        super().__init__()
        self.estimator = get_estimator(estimator)
        self.scale = nn.Parameter(torch.ones(out_channels))

    def forward(self, weight: Tensor) -> Tensor:
        """Γ·sign(W)."""
        signs: Tensor = self.estimator(weight)
        return signs * per_filter(self.scale, weight)

    def bases(self, weight: Tensor) -> list[Basis]:
        """One."""
        return [Basis(sign(weight), self.scale.clone())]
