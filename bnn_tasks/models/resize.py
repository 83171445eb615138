"""Bilinear resize of one map to the size of another."""

import torch.nn.functional as F
from torch import Tensor, nn


def resize_bilinear(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize `x`, (N, C, h, w), to (N, C, *size), half-pixel centres (torch's ``align_corners=False``), in float32.

    Args:
        x: a map.
        size: (H, W), pixels.
    """
    return F.interpolate(x.float(), size=size, mode="bilinear", align_corners=False)


class BilinearLike(nn.Module):
    """Bilinear resize to the size of a reference map, half-pixel centres (torch's ``align_corners=False``)."""

    def forward(self, x: Tensor, reference: Tensor) -> Tensor:
        """Resize `x`, (N, C, h, w), to (N, C, H, W) of `reference`, (N, C', H, W)."""
        return F.interpolate(x, size=reference.shape[-2:], mode="bilinear", align_corners=False)
