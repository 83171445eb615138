"""The nonlinearity of ReActNet."""

import torch
from torch import Tensor, nn


class RPReLU(nn.Module):
    """y = PReLU(x - γ_c) + ζ_c with slope, γ and ζ learned per channel (Liu et al., ReActNet, 2020, eq. 2).

    Args:
        channels: size of dimension 1 of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift_in = nn.Parameter(torch.zeros(channels))
        self.prelu = nn.PReLU(channels)
        self.shift_out = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, C, H, W)."""
        shift_in, shift_out = (shift.to(x.dtype).view(-1, 1, 1) for shift in (self.shift_in, self.shift_out))
        y: Tensor = self.prelu(x - shift_in) + shift_out
        return y
