"""Normalisation over channels with a learned scale (Liu, Rabinovich & Berg, ParseNet, 2015, §3.3)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class L2Norm(nn.Module):
    """y_c = w_c · x_c / max(√(Σ_c x_c²), eps) at every position, w learned: SSD's on conv4_3 (Liu et al., 2016, §3.1).

    Args:
        channels: size of dimension 1 of the input.
        scale: every w_c at first; SSD's 20.
        eps: least norm that is divided by, > 0.
    """

    def __init__(self, channels: int, scale: float = 20.0, eps: float = 1e-10) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, channels, H, W)."""
        return F.normalize(x.float(), dim=1, eps=self.eps).to(x.dtype) * self.weight.to(x.dtype).view(-1, 1, 1)

    def extra_repr(self) -> str:
        """Channels and the least norm."""
        return f"{len(self.weight)}, eps={self.eps}"
