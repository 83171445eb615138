"""ResNet's basic blocks of two 3×3 convolutions with one shortcut around both, and the table of all basic blocks."""

from typing import ClassVar

from torch import Tensor, nn

from bnn_tasks.backbones.block import Block
from bnn_tasks.backbones.paths import shortcut
from bnn_tasks.backbones.unit_blocks import (
    BiRealBlock,
    ClippedBlock,
    GatedBlock,
    LocalBlock,
    MaxoutBlock,
    PReLUBlock,
    ReActBlock,
)
from bnn_tasks.backbones.units import PlainUnit, RealUnit, WeightOnlyUnit, weights_only
from bnn_tasks.binary import BinaryConv2d, Method

_UNIT_NAMES = {
    "conv1": "first.conv",
    "bn1": "first.bn",
    "conv2": "second.conv",
    "bn2": "second.bn",
}
_SHORTCUT_NAMES = {"downsample.conv": "shortcut.conv", "downsample.bn": "shortcut.bn"}


class RealBlock(Block):
    """torchvision's BasicBlock: ReLU(bn2(conv2(ReLU(bn1(conv1(x))))) + shortcut(x)) (He et al., 2016).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the first convolution.
        dilation: distance of the convolutions' taps.
    """

    signed_input = False
    binary = False
    float_names: ClassVar = {**_UNIT_NAMES, "conv1": "conv1", "bn1": "bn1", **_SHORTCUT_NAMES}

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv1: nn.Module = nn.Conv2d(in_channels, out_channels, 3, stride, dilation, dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.second = RealUnit(out_channels, out_channels, dilation=dilation)
        self.shortcut = shortcut(in_channels, out_channels, stride)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, H, W)."""
        y: Tensor = self.activation(self.second(self.bn1(self.conv1(x))) + self.shortcut(x))
        return y


class WeightOnlyBlock(RealBlock):
    """`RealBlock` with binary weights: what BinaryConnect and BWN, which have no sign on activations, need.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the first convolution.
        method: how weights become ±1; one that leaves activations real.
        dilation: distance of the convolutions' taps.

    Raises:
        ValueError: the method is unknown or binarises activations.
    """

    binary = True

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, method: str | Method = "bwn", dilation: int = 1
    ) -> None:
        super().__init__(in_channels, out_channels, stride, dilation)
        self.conv1 = BinaryConv2d(in_channels, out_channels, 3, stride, dilation, dilation, method=weights_only(method))
        self.second = WeightOnlyUnit(out_channels, out_channels, 1, method, dilation=dilation)


class PlainBlock(Block):
    """The basic block binarised as it stands, one shortcut around two binary convolutions: the baseline.

    hardtanh(second(first(x)) + shortcut(x)); hardtanh is BNN's nonlinearity (Courbariaux et al., 2016) and keeps signs.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the first convolution.
        method: how weights and activations become ±1.
        dilation: distance of the convolutions' taps.

    Raises:
        ValueError: the method is unknown or binarises weights only.
    """

    signed_input = True
    float_names: ClassVar = {**_UNIT_NAMES, **_SHORTCUT_NAMES}

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, method: str | Method = "xnor", dilation: int = 1
    ) -> None:
        super().__init__()
        self.first = PlainUnit(in_channels, out_channels, stride, method, dilation=dilation)
        self.second = PlainUnit(out_channels, out_channels, 1, method, dilation=dilation)
        self.shortcut = shortcut(in_channels, out_channels, stride)
        self.activation = nn.Hardtanh()

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, H, W)."""
        y: Tensor = self.activation(self.second(self.first(x)) + self.shortcut(x))
        return y


BLOCKS: dict[str, type[Block]] = {
    "real": RealBlock,
    "weight_only": WeightOnlyBlock,
    "plain": PlainBlock,
    "bireal": BiRealBlock,
    "react": ReActBlock,
    "local": LocalBlock,
    "prelu": PReLUBlock,
    "clipped": ClippedBlock,
    "maxout": MaxoutBlock,
    "gated": GatedBlock,
}
