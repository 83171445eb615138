"""Real-valued paths around binary convolutions, for every change of shape."""

import torch
from torch import Tensor, nn


def halve(stride: int) -> nn.Module:
    """Average pooling to ⌈H/stride⌉ × ⌈W/stride⌉; nothing for stride 1.

    ``ceil_mode`` keeps its size equal to that of a strided 3×3 convolution with padding 1 for odd inputs.

    Args:
        stride: pooling window and stride.
    """
    return nn.AvgPool2d(stride, stride, ceil_mode=True) if stride > 1 else nn.Identity()


class Downsample(nn.Sequential):
    """Real-valued path where the shape changes: average pooling, real 1×1 convolution, BatchNorm (Liu et al., 2018).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: pooling window and stride.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.pool = halve(stride)
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)


def shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Identity where the shapes agree, else `Downsample`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the convolution that the shortcut goes around.
    """
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return Downsample(in_channels, out_channels, stride)


class ChannelRepeat(nn.Module):
    """y_{jC + c} = x_c for j < r: the channels r times over (ReActNet's concatenation, Liu et al., 2020).

    Args:
        repeats: r >= 1.
    """

    def __init__(self, repeats: int) -> None:
        super().__init__()
        self.repeats = repeats

    def forward(self, x: Tensor) -> Tensor:
        """Repeat `x`, (N, C, H, W); gives (N, rC, H, W)."""
        return torch.cat([x] * self.repeats, dim=1)

    def extra_repr(self) -> str:
        """How many times."""
        return f"repeats={self.repeats}"


class ChannelGroupMean(nn.Module):
    """y_c = (1/r) Σ_j x_{jC + c}, r = in_channels / out_channels: undoes `ChannelRepeat`.

    Args:
        in_channels: rC.
        out_channels: C.

    Raises:
        ValueError: `out_channels` does not divide `in_channels`.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        if min(in_channels, out_channels) < 1 or in_channels % out_channels:
            raise ValueError(
                f"Expected `out_channels` to divide `in_channels`, but got {out_channels} and {in_channels}. "
                "Cure: widths that are multiples of one another, or `shortcut` as the path."
            )
        self.in_channels, self.out_channels = in_channels, out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Average `x`, (N, in_channels, H, W); gives (N, out_channels, H, W)."""
        return x.unflatten(1, (-1, self.out_channels)).mean(1)

    def extra_repr(self) -> str:
        """Channels before and after."""
        return f"{self.in_channels}, {self.out_channels}"


class ChannelPath(nn.Sequential):
    """Real-valued path without a multiplication: average pooling, then duplication or averaging of channels.

    What bottlenecks need, where `Downsample`'s 1×1 convolutions would be as large as the binary ones they go around.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: pooling window and stride.

    Raises:
        ValueError: neither number of channels divides the other.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.pool = halve(stride)
        self.channels: nn.Module
        if out_channels % in_channels == 0:
            repeats = out_channels // in_channels
            self.channels = ChannelRepeat(repeats) if repeats > 1 else nn.Identity()
        else:
            self.channels = ChannelGroupMean(in_channels, out_channels)


class DepthwisePath(nn.Conv2d):
    """y_c = x_c + w_c ⊛ x_c: a real 3×3 filter a channel beside the identity, zero at first.

    A sign drops how much a value exceeds its neighbours; this path carries it, at 9 multiply-adds a value, where the binary
    convolution it goes around has 9·C.

    Args:
        channels: C, of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1, groups=channels, bias=False)
        nn.init.zeros_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, C, H, W)."""
        return x + super().forward(x)


def local_path(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """`DepthwisePath` where the shapes agree, else `Downsample`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the convolution that the path goes around.
    """
    if stride == 1 and in_channels == out_channels:
        return DepthwisePath(in_channels)
    return Downsample(in_channels, out_channels, stride)
