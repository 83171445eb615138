"""Learned functions of one channel's values, each one operation of the runtime."""

import torch
from torch import Tensor, nn


class Maxout(nn.Module):
    """y = γ⁺_c · max(x, 0) + γ⁻_c · min(x, 0), both slopes learned (Tu et al., AdaBin, 2022).

    Args:
        channels: size of dimension 1 of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.positive = nn.Parameter(torch.ones(channels))
        self.negative = nn.Parameter(torch.full((channels,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, C, H, W)."""
        positive, negative = (slope.to(x.dtype).view(-1, 1, 1) for slope in (self.positive, self.negative))
        return positive * x.clamp(min=0) + negative * x.clamp(max=0)


class ChannelScale(nn.Module):
    """y = γ_c · x, γ learned, 1 at first.

    Args:
        channels: size of dimension 1 of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, C, H, W)."""
        return x * self.weight.to(x.dtype).view(-1, 1, 1)
