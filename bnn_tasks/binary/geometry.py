"""Where the taps of a layer lie: what a convolution and a linear layer do with two operands."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]


@dataclass(frozen=True)
class Geometry:
    """A 2-d convolution without its weight.

    Attributes:
        kernel: (kh, kw), taps.
        stride: (sy, sx), pixels of the input.
        padding: (py, px), pixels added on each side.
        dilation: (dy, dx).
        groups: channel groups, as in torch.nn.Conv2d.
        pad_value: 0, +1 or -1: what a tap outside the image counts as; 0 adds nothing to a sum.
    """

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    pad_value: int = 0

    @property
    def pads_with_zeros(self) -> bool:
        """Whether torch's own zero padding does what is wanted."""
        return self.pad_value == 0 or self.padding == (0, 0)

    def pad(self, x: Tensor) -> Tensor:
        """Add the border to `x`, (N, C, H, W), with ``pad_value``."""
        return self.pad_with(x, self.pad_value)

    def pad_with(self, x: Tensor, value: float) -> Tensor:
        """Add the border to `x`, (N, C, H, W), with `value`."""
        (py, px) = self.padding
        return x if self.padding == (0, 0) else F.pad(x, (px, px, py, py), value=float(value))

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """Convolve `x`, (N, C, H, W), with `weight`, (O, C/groups, kh, kw)."""
        padding = self.padding
        if not self.pads_with_zeros:
            x, padding = self.pad(x), (0, 0)
        return F.conv2d(x, weight, None, self.stride, padding, self.dilation, self.groups)

    def patches(self, x: Tensor) -> Tensor:
        """The taps under every output pixel, the border included: (N, G, C/groups·kh·kw, H', W')."""
        columns = F.unfold(self.pad(x), self.kernel, self.dilation, 0, self.stride)
        return columns.view(len(x), self.groups, -1, *self.output_size((x.shape[2], x.shape[3])))

    def inside(self, x: Tensor) -> Tensor:
        """1 where a tap of ``patches`` counts, 0 where it is a zero-padded one; (1, 1, 1 or n, H', W')."""
        if self.pad_value != 0:
            return x.new_ones(())
        one = x.new_ones((1, x.shape[1] // self.groups, *x.shape[2:]))
        return Geometry(self.kernel, self.stride, self.padding, self.dilation).patches(one)

    def patch_product(self, patches: Tensor, weight: Tensor) -> Tensor:
        """Multiply ``patches``, (N, G, n, H', W'), with `weight`, (O, C/groups, kh, kw): (N, G, O/G, H', W')."""
        rows = weight.reshape(self.groups, -1, patches.shape[2])
        return torch.einsum("gon,bgnhw->bgohw", rows, patches)

    def window_mean(self, x: Tensor) -> Tensor:
        """Mean of every group's taps, the border included: (N, G, H', W').

        Args:
            x: magnitudes, (N, C, H, W) >= 0; a padded tap's is abs(``pad_value``).
        """
        size, channels = x.shape[2:], x.shape[1] // self.groups
        means = x.reshape(len(x), self.groups, channels, *size).mean(dim=2)
        box = x.new_full((self.groups, 1, *self.kernel), 1 / (self.kernel[0] * self.kernel[1]))
        return F.conv2d(
            self.pad_with(means, abs(self.pad_value)), box, None, self.stride, 0, self.dilation, self.groups
        )

    def output_size(self, size: Pair) -> Pair:
        """(H', W') for an input of `size` (H, W)."""
        (ky, kx), (sy, sx), (py, px), (dy, dx) = self.kernel, self.stride, self.padding, self.dilation
        return (size[0] + 2 * py - dy * (ky - 1) - 1) // sy + 1, (size[1] + 2 * px - dx * (kx - 1) - 1) // sx + 1


@dataclass(frozen=True)
class LinearGeometry(Geometry):
    """A linear layer: one output pixel, (N, C) in, (N, O) out."""

    kernel: Pair = (1, 1)

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """Multiply `x`, (N, C), with `weight`, (O, C)."""
        return F.linear(x, weight)

    def patches(self, x: Tensor) -> Tensor:
        """`x` as (N, 1, C)."""
        return x[:, None]

    def inside(self, x: Tensor) -> Tensor:
        """1: every tap counts."""
        return x.new_ones(())

    def patch_product(self, patches: Tensor, weight: Tensor) -> Tensor:
        """Multiply (N, 1, C) with (O, C): (N, 1, O)."""
        return F.linear(patches, weight)

    def window_mean(self, x: Tensor) -> Tensor:
        """Mean over the features: (N, 1)."""
        return x.mean(dim=1, keepdim=True)


@dataclass(frozen=True)
class LayerShape:
    """What a binariser may need to know of the layer it serves.

    Attributes:
        out_channels: O.
        in_channels: C, of all groups.
        kernel: (kh, kw); (1, 1) for a linear layer.
        groups: G.
        linear: whether the layer is a linear one.
    """

    out_channels: int
    in_channels: int
    kernel: Pair = (1, 1)
    groups: int = 1
    linear: bool = False

    @property
    def weight(self) -> tuple[int, ...]:
        """Shape of a float weight: (O, C/groups, kh, kw), or (O, C) of a linear layer."""
        shape = (self.out_channels, self.in_channels // self.groups)
        return shape if self.linear else (*shape, *self.kernel)

    @property
    def taps(self) -> int:
        """n, the weights of one filter."""
        return self.in_channels // self.groups * self.kernel[0] * self.kernel[1]
