"""One 3×3 convolution with its activation, BatchNorm and shortcut: the unit that backbones, necks and heads repeat.

Every unit keeps the order activation, convolution, BatchNorm (XNOR-Net's B-A-C read from the BatchNorm before): it takes
a signed real map and gives a signed real map, so that any unit may follow any other and no sign ever sees a ReLU's output.
"""

from torch import Tensor, nn

from bnn_tasks.binary import BinaryConv2d, Method, RPReLU


class Downsample(nn.Sequential):
    """Real-valued path where the shape changes: average pooling, real 1×1 convolution, BatchNorm (Liu et al., 2018).

    ``ceil_mode`` keeps its size equal to that of a strided 3×3 convolution with padding 1 for odd inputs.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: pooling window and stride.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(stride, stride, ceil_mode=True) if stride > 1 else nn.Identity()
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


class Unit(nn.Module):
    """Base class: ``conv`` is the 3×3 convolution, ``bn`` its BatchNorm; (N, in, H, W) -> (N, out, ⌈H/s⌉, ⌈W/s⌉)."""

    conv: nn.Conv2d | BinaryConv2d
    bn: nn.BatchNorm2d


class RealUnit(Unit):
    """BatchNorm(conv(ReLU(x))), real-valued.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.activation = nn.ReLU()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, H, W)."""
        y: Tensor = self.bn(self.conv(self.activation(x)))
        return y


class PlainUnit(Unit):
    """BatchNorm(bconv(x)), no shortcut: what binarising a plain network gives, the baseline.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the convolution.
        method: how weights and activations become ±1.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, method: str | Method = "xnor") -> None:
        super().__init__()
        self.conv = BinaryConv2d(in_channels, out_channels, 3, stride, 1, method=method)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, H, W)."""
        y: Tensor = self.bn(self.conv(x))
        return y


class BiRealUnit(Unit):
    """BatchNorm(bconv(x)) + shortcut(x): a real-valued path around the binary convolution (Liu et al., Bi-Real Net, 2018).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the convolution.
        method: how weights and activations become ±1.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, method: str | Method = "bireal") -> None:
        super().__init__()
        self.conv = BinaryConv2d(in_channels, out_channels, 3, stride, 1, method=method)
        self.bn = nn.BatchNorm2d(out_channels)
        self.shortcut = shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, H, W)."""
        y: Tensor = self.bn(self.conv(x)) + self.shortcut(x)
        return y


class ReActUnit(BiRealUnit):
    """RPReLU(BatchNorm(bconv(x)) + shortcut(x)) (Liu et al., ReActNet, 2020).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the convolution.
        method: how weights and activations become ±1.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, method: str | Method = "react") -> None:
        super().__init__(in_channels, out_channels, stride, method)
        self.activation = RPReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, H, W)."""
        y: Tensor = self.activation(super().forward(x))
        return y
