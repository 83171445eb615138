"""ResNet's basic blocks of two 3×3 convolutions: real, plain binary, and with a real path around every convolution."""

from typing import ClassVar

from torch import Tensor, nn

from bnn_tasks.backbones.units import BiRealUnit, PlainUnit, ReActUnit, RealUnit, shortcut
from bnn_tasks.binary import Method


class Block(nn.Module):
    """Base class of the basic blocks: (N, in, H, W) -> (N, out, ⌈H/s⌉, ⌈W/s⌉).

    Attributes:
        signed_input: whether the block takes the sign of its input, so that no ReLU may come before it.
        float_names: where torchvision's BasicBlock parameters go, prefix -> prefix.
    """

    signed_input: ClassVar[bool]
    float_names: ClassVar[dict[str, str]]


class RealBlock(Block):
    """torchvision's BasicBlock: ReLU(bn2(conv2(ReLU(bn1(conv1(x))))) + shortcut(x)) (He et al., 2016).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the first convolution.
    """

    signed_input = False
    float_names: ClassVar = {
        "conv1": "conv1",
        "bn1": "bn1",
        "conv2": "second.conv",
        "bn2": "second.bn",
        "downsample.conv": "shortcut.conv",
        "downsample.bn": "shortcut.bn",
    }

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.second = RealUnit(out_channels, out_channels)
        self.shortcut = shortcut(in_channels, out_channels, stride)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, H, W)."""
        y: Tensor = self.activation(self.second(self.bn1(self.conv1(x))) + self.shortcut(x))
        return y


_UNIT_NAMES = {
    "conv1": "first.conv",
    "bn1": "first.bn",
    "conv2": "second.conv",
    "bn2": "second.bn",
}


class PlainBlock(Block):
    """The basic block binarised as it stands, one shortcut around two binary convolutions: the baseline.

    hardtanh(second(first(x)) + shortcut(x)); hardtanh is BNN's nonlinearity (Courbariaux et al., 2016) and keeps signs.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the first convolution.
        method: how weights and activations become ±1.
    """

    signed_input = True
    float_names: ClassVar = {
        **_UNIT_NAMES,
        "downsample.conv": "shortcut.conv",
        "downsample.bn": "shortcut.bn",
    }

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, method: str | Method = "xnor") -> None:
        super().__init__()
        self.first = PlainUnit(in_channels, out_channels, stride, method)
        self.second = PlainUnit(out_channels, out_channels, 1, method)
        self.shortcut = shortcut(in_channels, out_channels, stride)
        self.activation = nn.Hardtanh()

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, H, W)."""
        y: Tensor = self.activation(self.second(self.first(x)) + self.shortcut(x))
        return y


class BiRealBlock(Block):
    """Two `BiRealUnit`: a shortcut around every binary convolution (Liu et al., Bi-Real Net, 2018).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the first convolution.
        method: how weights and activations become ±1.
    """

    signed_input = True
    float_names: ClassVar = {
        **_UNIT_NAMES,
        "downsample.conv": "first.shortcut.conv",
        "downsample.bn": "first.shortcut.bn",
    }

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, method: str | Method = "bireal") -> None:
        super().__init__()
        self.first = BiRealUnit(in_channels, out_channels, stride, method)
        self.second = BiRealUnit(out_channels, out_channels, 1, method)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, H, W)."""
        y: Tensor = self.second(self.first(x))
        return y


class ReActBlock(Block):
    """Two `ReActUnit`: a shortcut around every binary convolution, RPReLU after it (Liu et al., ReActNet, 2020).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the first convolution.
        method: how weights and activations become ±1.
    """

    signed_input = True
    float_names = BiRealBlock.float_names

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, method: str | Method = "react") -> None:
        super().__init__()
        self.first = ReActUnit(in_channels, out_channels, stride, method)
        self.second = ReActUnit(out_channels, out_channels, 1, method)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, H, W)."""
        y: Tensor = self.second(self.first(x))
        return y


BLOCKS: dict[str, type[Block]] = {
    "real": RealBlock,
    "plain": PlainBlock,
    "bireal": BiRealBlock,
    "react": ReActBlock,
}
