"""Basic blocks with a real path around each of their two binary convolutions."""

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from bnn_tasks.backbones.activated_units import ClippedUnit, GatedUnit, LocalUnit, MaxoutUnit, PReLUUnit, ReActUnit
from bnn_tasks.backbones.block import Block
from bnn_tasks.backbones.units import BiRealUnit, Unit
from bnn_tasks.binary import Method


class UnitBlock(Block):
    """Two units of one kind, each with its own shortcut; the named blocks below choose the unit.

    Args:
        unit: the kind.
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the first convolution.
        method: how weights and activations become ±1.
        dilation: distance of the convolutions' taps.

    Raises:
        ValueError: the method is unknown or binarises weights only.
    """

    signed_input = True
    float_names: ClassVar = {
        "conv1": "first.conv",
        "bn1": "first.bn",
        "conv2": "second.conv",
        "bn2": "second.bn",
        "downsample.conv": "first.shortcut.conv",
        "downsample.bn": "first.shortcut.bn",
    }

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
        self.first = unit(in_channels, out_channels, stride, method, dilation=dilation)
        self.second = unit(out_channels, out_channels, 1, method, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, H, W)."""
        y: Tensor = self.second(self.first(x))
        return y


class BiRealBlock(UnitBlock):
    """Two `BiRealUnit`: a shortcut around every binary convolution (Liu et al., Bi-Real Net, 2018).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the first convolution.
        method: how weights and activations become ±1.
        dilation: distance of the convolutions' taps.

    Raises:
        ValueError: the method is unknown or binarises weights only.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, method: str | Method = "bireal", dilation: int = 1
    ) -> None:
        super().__init__(BiRealUnit, in_channels, out_channels, stride, method, dilation)


class ReActBlock(UnitBlock):
    """Two `ReActUnit`: a shortcut around every binary convolution, RPReLU after it (Liu et al., ReActNet, 2020).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the first convolution.
        method: how weights and activations become ±1.
        dilation: distance of the convolutions' taps.

    Raises:
        ValueError: the method is unknown or binarises weights only.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, method: str | Method = "react", dilation: int = 1
    ) -> None:
        super().__init__(ReActUnit, in_channels, out_channels, stride, method, dilation)


class LocalBlock(UnitBlock):
    """Two `LocalUnit`: ReActNet's block with a real 3×3 filter a channel on every path.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the first convolution.
        method: how weights and activations become ±1.
        dilation: distance of the convolutions' taps.

    Raises:
        ValueError: the method is unknown or binarises weights only.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, method: str | Method = "react", dilation: int = 1
    ) -> None:
        super().__init__(LocalUnit, in_channels, out_channels, stride, method, dilation)


class PReLUBlock(UnitBlock):
    """Two `PReLUUnit`: Bi-Real's block with PReLU.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the first convolution.
        method: how weights and activations become ±1.
        dilation: distance of the convolutions' taps.

    Raises:
        ValueError: the method is unknown or binarises weights only.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, method: str | Method = "bireal", dilation: int = 1
    ) -> None:
        super().__init__(PReLUUnit, in_channels, out_channels, stride, method, dilation)


class ClippedBlock(UnitBlock):
    """Two `ClippedUnit`: IR-Net's and ReCU's block on CIFAR (Qin et al., IR-Net, 2020).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the first convolution.
        method: how weights and activations become ±1.
        dilation: distance of the convolutions' taps.

    Raises:
        ValueError: the method is unknown or binarises weights only.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, method: str | Method = "ir_net", dilation: int = 1
    ) -> None:
        super().__init__(ClippedUnit, in_channels, out_channels, stride, method, dilation)


class MaxoutBlock(UnitBlock):
    """Two `MaxoutUnit`: AdaBin's block (Tu et al., AdaBin, 2022).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the first convolution.
        method: how weights and activations become ±1.
        dilation: distance of the convolutions' taps.

    Raises:
        ValueError: the method is unknown or binarises weights only.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, method: str | Method = "adabin", dilation: int = 1
    ) -> None:
        super().__init__(MaxoutUnit, in_channels, out_channels, stride, method, dilation)


class GatedBlock(UnitBlock):
    """Two `GatedUnit`: BBG's block, of reconstructed form (Shen et al., BBG, 2020).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the first convolution.
        method: how weights and activations become ±1.
        dilation: distance of the convolutions' taps.

    Raises:
        ValueError: the method is unknown or binarises weights only.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, method: str | Method = "bbg", dilation: int = 1
    ) -> None:
        super().__init__(GatedUnit, in_channels, out_channels, stride, method, dilation)
