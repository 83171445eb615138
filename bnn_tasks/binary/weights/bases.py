"""Weights of several bases: ABC-Net's least squares, and an offset beside the signs (AdaBin, DSQ)."""

import torch
from torch import Tensor, nn

from bnn_tasks.binary.activations.bases import soft_quantize
from bnn_tasks.binary.estimators import STE, Estimator, get_estimator, sign
from bnn_tasks.binary.weights.base import Basis, WeightBinarizer, check_spread, per_filter


class LeastSquaresBases(WeightBinarizer):
    """W̃_o = Σ_m α_om·B_om, B_m = sign(W - mean + u_m·std), α = argmin ‖W_o - Bα‖² (Lin et al., ABC-Net, 2017, eqs. 2-5).

    u_m = -1 + (m-1)·2/(M-1); for M = 1, which the formula leaves open, u = 0. Mean and std are the filter's (the paper's
    channel-wise variant). Backward: the identity for every B_m, α held constant, so dL/dW = Σ_m α_m·dL/dW̃.

    Args:
        count: M >= 1.

    Raises:
        ValueError: `count` is out of range.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        if count < 1:
            raise ValueError(f"Expected `count` to be >= 1, but got {count}.")
        self.count = count

    @torch.no_grad()
    def solve(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """B, (O, n, M), and α, (O, M), of a weight (O, ...)."""
        rows = weight.detach().flatten(1).to(torch.promote_types(weight.dtype, torch.float32))
        centred = rows - rows.mean(dim=1, keepdim=True)
        spread = centred.std(dim=1, keepdim=True) if rows.shape[1] > 1 else torch.zeros_like(centred)
        shifts = torch.linspace(-1, 1, self.count) if self.count > 1 else torch.zeros(1)
        bases = sign(centred[:, :, None] + shifts.to(rows.device) * spread[:, :, None])
        with torch.autocast(rows.device.type, enabled=False):
            # The M×M normal equations: BᵀB holds exact integers. Few taps can make bases equal: the pseudo-inverse then gives
            # the smallest of the equally good α.
            gram, moments = bases.mT @ bases, bases.mT @ rows[:, :, None]
            scales = torch.linalg.pinv(gram.double(), rtol=1e-9, hermitian=True) @ moments.double()
        return bases, scales[:, :, 0].to(rows.dtype)

    def forward(self, weight: Tensor) -> Tensor:
        """Σ α_m·B_m."""
        bases, scales = self.solve(weight)
        value = (bases * scales[:, None]).sum(dim=2).to(weight.dtype).view_as(weight)
        through = per_filter(scales.sum(dim=1), weight).to(weight.dtype) * weight
        return value + (through - through.detach())

    def bases(self, weight: Tensor) -> list[Basis]:
        """M."""
        bases, scales = self.solve(weight)
        return [Basis(bases[:, :, m].reshape(weight.shape), scales[:, m]) for m in range(self.count)]

    def check(self, weight: Tensor) -> None:
        """Every filter needs a spread."""
        check_spread(weight, "shifts its bases by their standard deviation")


class AffineWeight(WeightBinarizer):
    """W̃_o = α_o·sign((W_o - β_o)/α_o) + β_o, β = mean(W_o), α = ‖W_o - β‖₂/√n (Tu et al., AdaBin, 2022, eq. 8).

    The two values are the centre and the spread of the filter. Gradients run through both.

    Args:
        estimator: the surrogate gradient of the sign, evaluated at (W - β)/α; the authors' code has IR-Net's `EDE`.
    """

    def __init__(self, estimator: str | Estimator) -> None:
        super().__init__()
        self.estimator = get_estimator(estimator)

    def _centre_and_spread(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        dims = tuple(range(1, weight.dim()))
        beta = weight.mean(dim=dims, keepdim=True)
        variance = (weight - beta).square().mean(dim=dims, keepdim=True)
        # The floor is for filters of one tap, or of equal values: without a spread they keep a finite gradient.
        return beta, variance.clamp_min(torch.finfo(weight.dtype).tiny).sqrt()

    def forward(self, weight: Tensor) -> Tensor:
        """β ± α."""
        beta, alpha = self._centre_and_spread(weight)
        signs: Tensor = self.estimator((weight - beta) / alpha)
        return signs * alpha + beta

    def bases(self, weight: Tensor) -> list[Basis]:
        """B with α, and B_0 with β."""
        beta, alpha = self._centre_and_spread(weight)
        return [Basis(sign(weight - beta), alpha.flatten()), Basis(torch.ones_like(weight), beta.flatten())]

    def check(self, weight: Tensor) -> None:
        """Every filter needs a spread."""
        check_spread(weight, "divides by their distance from the mean")


class SoftQuantizedWeight(WeightBinarizer):
    """W̃ = (l+u)/2 + (u-l)/2·sign(φ(W)), l, u, α learned for the layer (Gong et al., DSQ, 2019); see `SoftQuantized`."""

    def __init__(self) -> None:
        super().__init__()
        self.lower = nn.Parameter(torch.tensor(-1.0))
        self.upper = nn.Parameter(torch.tensor(1.0))
        self.alpha = nn.Parameter(torch.tensor(0.2))
        self.estimator = STE()

    def forward(self, weight: Tensor) -> Tensor:
        """l or u."""
        return soft_quantize(weight, self.lower, self.upper, self.alpha, self.estimator)

    def bases(self, weight: Tensor) -> list[Basis]:
        """B with (u-l)/2, and B_0 with (l+u)/2."""
        middle, half = (self.lower + self.upper) / 2, (self.upper - self.lower) / 2
        count = len(weight)
        return [Basis(sign(weight - middle), half.expand(count)), Basis(torch.ones_like(weight), middle.expand(count))]
