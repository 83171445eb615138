"""Weights whose statistics are set right before the sign: IR-Net, ReCU."""

import math

import torch
from torch import Tensor, nn

from bnn_tasks.binary.estimators import STE, Estimator, get_estimator, sign
from bnn_tasks.binary.progress import Scheduled
from bnn_tasks.binary.weights.base import Basis, WeightBinarizer, check_spread, per_filter


def standardize(weight: Tensor) -> Tensor:
    """(W_o - mean)/std of every filter, torch's unbiased std; one tap alone has no std and is divided by 1."""
    dims = tuple(range(1, weight.dim()))
    centred = weight - weight.mean(dim=dims, keepdim=True)
    return centred / centred.std(dim=dims, keepdim=True) if weight[0].numel() > 1 else weight


class LibraPB(WeightBinarizer):
    """W̃ = 2^s·sign(ŵ), ŵ = (W - mean)/std per filter, s = round(log2(mean(abs(ŵ)))) (Qin et al., IR-Net, 2020, §3.2).

    Balanced bits carry the most information, and the scale is a shift of bits. Gradients run through mean and std, not s.

    Args:
        estimator: the surrogate gradient of sign(ŵ), IR-Net's `EDE`.
    """

    def __init__(self, estimator: str | Estimator) -> None:
        super().__init__()
        self.estimator = get_estimator(estimator)

    def _scale(self, standard: Tensor) -> Tensor:
        means = standard.detach().abs().mean(dim=tuple(range(1, standard.dim())))
        return torch.exp2(torch.round(torch.log2(means)))

    def forward(self, weight: Tensor) -> Tensor:
        """2^s·sign(ŵ)."""
        standard = standardize(weight)
        signs: Tensor = self.estimator(standard)
        return signs * per_filter(self._scale(standard), weight)

    def bases(self, weight: Tensor) -> list[Basis]:
        """One, its scale a power of two."""
        standard = standardize(weight)
        return [Basis(sign(standard), self._scale(standard))]

    def check(self, weight: Tensor) -> None:
        """Every filter needs a spread."""
        check_spread(weight, "divides by their standard deviation")


class RectifiedClamp(Scheduled, WeightBinarizer):
    """W̃_o = α_o·sign(w2), w2 = clamp(w1, ±Q_τ): revives dead weights (Xu et al., ReCU, 2021).

    w1 = (W - mean)/sqrt(var + 1e-5)·2√2 per filter, b = mean(abs(w1)) over the layer, Q_τ = -b·ln(2 - 2τ), the τ-quantile of a
    Laplace distribution of scale b. The gradient of the sign is 1, that of the clamp 0 beyond Q_τ; α is learned. τ grows from
    `tau_start` to `tau_end` as A·e^p + B with the progress p.

    Args:
        out_channels: O.
        tau_start: τ at the start, in (0.5, 1).
        tau_end: τ at the end, in (0.5, 1).

    Raises:
        ValueError: a τ is out of range.
    """

    def __init__(self, out_channels: int, tau_start: float = 0.85, tau_end: float = 0.99) -> None:
        super().__init__()
        for name, tau in (("tau_start", tau_start), ("tau_end", tau_end)):
            if not 0.5 < tau < 1:
                raise ValueError(
                    f"Expected `{name}` to be in (0.5, 1), but got {tau}: at 0.5 the clamp leaves nothing."
                )
        self.tau_start, self.tau_end = tau_start, tau_end
        self.estimator = STE()
        self.alpha = nn.Parameter(torch.rand(out_channels))

    def tau(self) -> Tensor:
        """τ at the present progress."""
        return self.tau_start + (self.tau_end - self.tau_start) * torch.expm1(self.progress) / (math.e - 1)

    def rectified(self, weight: Tensor) -> Tensor:
        """w2."""
        dims = tuple(range(1, weight.dim()))
        centred = weight - weight.mean(dim=dims, keepdim=True)
        variance = centred.var(dim=dims, keepdim=True, correction=min(1, weight[0].numel() - 1))
        standard = centred / torch.sqrt(variance + 1e-5) * (2 * math.sqrt(2))
        bound = -standard.detach().abs().mean() * torch.log(2 - 2 * self.tau())
        return torch.minimum(torch.maximum(standard, -bound), bound)

    def forward(self, weight: Tensor) -> Tensor:
        """α·sign(w2)."""
        signs: Tensor = self.estimator(self.rectified(weight))
        return signs * per_filter(self.alpha, weight)

    def bases(self, weight: Tensor) -> list[Basis]:
        """One."""
        return [Basis(sign(self.rectified(weight)), self.alpha.clone())]
