"""Weights binarised with the loss in view: LAB."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bnn_tasks.binary.estimators import STE, sign
from bnn_tasks.binary.weights.base import Basis, WeightBinarizer, scaled_sign


class LossAware(WeightBinarizer):
    """W̃ = α·sign(W), α = ‖D ⊙ W‖₁/‖D‖₁ for the layer: the minimiser of ½·Σ D_i·(W_i - α·sign(W_i))² (Hou et al., LAB, 2017).

    D = sqrt(v̂) + 1e-8 approximates the diagonal of the loss's Hessian, v̂ being Adam's second moment of the step before; 1
    until there is one, which gives BWN's scale of the layer. (Adam's correction of v̂ for its start is a common factor, which
    cancels in α.) dL/dW = dL/dW̃, and the latent weight is clipped to [-1, 1], as in the authors' code.

    Args:
        shape: of the latent weight.
    """

    curvature: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("curvature", torch.ones(shape))

    def _scale(self, weight: Tensor) -> Tensor:
        return (self.curvature * weight.detach().abs()).sum() / self.curvature.sum()

    def forward(self, weight: Tensor) -> Tensor:
        """α·sign(W)."""
        return scaled_sign(weight, self._scale(weight), STE())

    def bases(self, weight: Tensor) -> list[Basis]:
        """One; every filter has the same scale."""
        return [Basis(sign(weight), self._scale(weight).expand(len(weight)))]

    @torch.no_grad()
    def after_step(self, weight: Tensor, state: Mapping[str, Any]) -> None:
        """Take D from the optimiser, and clip.

        Raises:
            ValueError: the optimiser keeps no second moment.
        """
        if "exp_avg_sq" not in state:
            raise ValueError(
                "Expected an optimiser with Adam's second moment for the method 'lab', but its state has "
                f"{sorted(state)}. Cure: torch.optim.Adam or AdamW."
            )
        self.curvature.copy_(state["exp_avg_sq"].sqrt().add_(1e-8))
        weight.clamp_(-1, 1)
