"""ResNet-50's bottleneck blocks: 1×1, 3×3, 1×1, with a quarter of the channels inside (He et al., 2016, §4.1)."""

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from bnn_tasks.backbones.activated_units import ReActUnit
from bnn_tasks.backbones.block import Block
from bnn_tasks.backbones.paths import ChannelPath, shortcut
from bnn_tasks.backbones.units import BiRealUnit, PlainUnit, RealUnit, Unit
from bnn_tasks.binary import Method

EXPANSION = 4

_UNIT_NAMES = {
    "conv1": "first.conv",
    "bn1": "first.bn",
    "conv2": "second.conv",
    "bn2": "second.bn",
    "conv3": "third.conv",
    "bn3": "third.bn",
}
_SHORTCUT_NAMES = {"downsample.conv": "shortcut.conv", "downsample.bn": "shortcut.bn"}


def inside(out_channels: int) -> int:
    """Channels inside a bottleneck.

    Args:
        out_channels: channels of its output.

    Raises:
        ValueError: they are no multiple of four.
    """
    if out_channels % EXPANSION:
        raise ValueError(f"Expected a bottleneck's `out_channels` to be a multiple of 4, but got {out_channels}.")
    return out_channels // EXPANSION


class RealBottleneck(Block):
    """torchvision's Bottleneck, stride on the 3×3; a strided shortcut pools before its 1×1 convolution.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, a multiple of 4.
        stride: stride of the 3×3 convolution.
        dilation: distance of its taps.
    """

    signed_input = False
    binary = False
    expansion = EXPANSION
    float_names: ClassVar = {**_UNIT_NAMES, "conv1": "conv1", "bn1": "bn1", **_SHORTCUT_NAMES}

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        channels = inside(out_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.second = RealUnit(channels, channels, stride, dilation=dilation)
        self.third = RealUnit(channels, out_channels, kernel_size=1)
        self.shortcut = shortcut(in_channels, out_channels, stride)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, H, W)."""
        y = self.third(self.second(self.bn1(self.conv1(x))))
        out: Tensor = self.activation(y + self.shortcut(x))
        return out


class PlainBottleneck(Block):
    """The bottleneck binarised as it stands, one shortcut around three binary convolutions: the baseline.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, a multiple of 4.
        stride: stride of the 3×3 convolution.
        method: how weights and activations become ±1.
        dilation: distance of the 3×3 convolution's taps.

    Raises:
        ValueError: the method is unknown or binarises weights only, or a size is out of range.
    """

    signed_input = True
    expansion = EXPANSION
    float_names: ClassVar = {**_UNIT_NAMES, **_SHORTCUT_NAMES}

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, method: str | Method = "xnor", dilation: int = 1
    ) -> None:
        super().__init__()
        channels = inside(out_channels)
        self.first = PlainUnit(in_channels, channels, 1, method, kernel_size=1)
        self.second = PlainUnit(channels, channels, stride, method, dilation=dilation)
        self.third = PlainUnit(channels, out_channels, 1, method, kernel_size=1)
        self.shortcut = shortcut(in_channels, out_channels, stride)
        self.activation = nn.Hardtanh()

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, H, W)."""
        y: Tensor = self.activation(self.third(self.second(self.first(x))) + self.shortcut(x))
        return y


class UnitBottleneck(Block):
    """Three units of one kind, each with a `ChannelPath` around its binary convolution, so that no 1×1 is real.

    The path averages groups of channels where they shrink, pools where the stride is, and repeats channels where they
    grow; the named bottlenecks below choose the unit.

    Args:
        unit: the kind.
        in_channels: channels of the input.
        out_channels: channels of the output, a multiple of 4.
        stride: stride of the 3×3 convolution.
        method: how weights and activations become ±1.
        dilation: distance of the 3×3 convolution's taps.

    Raises:
        ValueError: the method is unknown or binarises weights only, or a size is out of range.
    """

    signed_input = True
    expansion = EXPANSION
    float_names: ClassVar = _UNIT_NAMES
    float_left_out = ("downsample.",)

    def __init__(
        self,
        unit: Callable[..., Unit],
        in_channels: int,
        out_channels: int,
        stride: int,
        method: str | Method,
        dilation: int,
    ) -> None:
        super().__init__()
        channels = inside(out_channels)
        self.first = unit(in_channels, channels, 1, method, kernel_size=1, path=ChannelPath)
        self.second = unit(channels, channels, stride, method, dilation=dilation, path=ChannelPath)
        self.third = unit(channels, out_channels, 1, method, kernel_size=1, path=ChannelPath)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, H, W)."""
        y: Tensor = self.third(self.second(self.first(x)))
        return y


class BiRealBottleneck(UnitBottleneck):
    """Three `BiRealUnit` (Liu et al., Bi-Real Net, 2018, on bottlenecks).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, a multiple of 4.
        stride: stride of the 3×3 convolution.
        method: how weights and activations become ±1.
        dilation: distance of the 3×3 convolution's taps.

    Raises:
        ValueError: as for `UnitBottleneck`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, method: str | Method = "bireal", dilation: int = 1
    ) -> None:
        super().__init__(BiRealUnit, in_channels, out_channels, stride, method, dilation)


class ReActBottleneck(UnitBottleneck):
    """Three `ReActUnit` (Liu et al., ReActNet, 2020, on bottlenecks).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, a multiple of 4.
        stride: stride of the 3×3 convolution.
        method: how weights and activations become ±1.
        dilation: distance of the 3×3 convolution's taps.

    Raises:
        ValueError: as for `UnitBottleneck`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, method: str | Method = "react", dilation: int = 1
    ) -> None:
        super().__init__(ReActUnit, in_channels, out_channels, stride, method, dilation)


BOTTLENECKS: dict[str, type[Block]] = {
    "real": RealBottleneck,
    "plain": PlainBottleneck,
    "bireal": BiRealBottleneck,
    "react": ReActBottleneck,
}
