"""A real path without its outliers: FQN's percentile ranges."""

import math

import torch
from torch import Tensor, nn


class PercentileClip(nn.Module):
    """y = min(max(x, low), high), the range followed in training by percentiles (Li et al., FQN, 2019).

    Every training batch gives the order statistics of all its values at the shares 1 - γ and γ (of n values the one of rank
    round(γ·(n - 1)), counted from 0, and its mirror image; no interpolation). The first `batches` are calibration: nothing is
    clipped and the range is the mean of theirs. From then on range += rate · (batch's range - range), and values are clipped,
    with gradient 0 outside. In evaluation the range that there is clips: one clamp in the exported net.

    FQN quantises what it clips to 4 bits; in a 1-bit net it serves the real-valued paths, whose few extreme values would else
    decide the scale of what is added to them.

    Args:
        gamma: γ in (0.5, 1]; FQN's 0.999.
        batches: of calibration, >= 1; FQN's 20.
        rate: weight of the newest batch afterwards, in [0, 1]; 0 keeps the calibrated range. FQN's is not known to us; 0.01
            is the complement of the usual 0.99.

    Attributes:
        low: 0-dimensional float32; equal to ``high`` before the first training batch, when nothing is clipped.
        high: 0-dimensional float32.

    Raises:
        ValueError: an argument is out of range.
    """

    low: Tensor
    high: Tensor
    seen: Tensor

    def __init__(self, gamma: float = 0.999, batches: int = 20, rate: float = 0.01) -> None:
        super().__init__()
        if not 0.5 < gamma <= 1 or batches < 1 or not 0 <= rate <= 1:
            raise ValueError(
                "Expected `gamma` in (0.5, 1], `batches` >= 1 and `rate` in [0, 1], but got "
                f"gamma={gamma}, batches={batches}, rate={rate}. Cure: FQN's 0.999, 20, and a small rate."
            )
        self.gamma, self.batches, self.rate = gamma, batches, rate
        for name in ("low", "high"):
            self.register_buffer(name, torch.zeros(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def _follow(self, x: Tensor) -> None:
        values = x.detach().flatten().float()
        rank = round(self.gamma * (len(values) - 1))
        self.seen += 1
        rate = torch.where(self.seen <= self.batches, 1 / self.seen, self.rate)
        for bound, place in ((self.low, len(values) - 1 - rank), (self.high, rank)):
            bound += rate * (values.kthvalue(place + 1).values - bound)

    def forward(self, x: Tensor) -> Tensor:
        """Clip `x`, any shape."""
        clips = self.high > self.low
        if self.training:
            self._follow(x)
            clips = self.seen > self.batches
        # Bounds at infinity instead of a branch: no value has to come back from an accelerator.
        low, high = torch.where(clips, self.low, -math.inf), torch.where(clips, self.high, math.inf)
        return torch.clamp(x, low.to(x.dtype), high.to(x.dtype))

    def extra_repr(self) -> str:
        """The settings."""
        return f"gamma={self.gamma}, batches={self.batches}, rate={self.rate}"
