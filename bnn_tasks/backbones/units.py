"""One convolution with its activation, BatchNorm and shortcut: the unit that backbones, necks and heads repeat.

Every unit keeps the order activation, convolution, BatchNorm (XNOR-Net's B-A-C read from the BatchNorm before): it takes
a signed real map and gives a signed real map, so that any unit may follow any other and no sign ever sees a ReLU's output.
"""

from collections.abc import Callable

from torch import Tensor, nn

from bnn_tasks.backbones.paths import shortcut
from bnn_tasks.binary import BinaryConv2d, Method, get_method

PathFactory = Callable[[int, int, int], nn.Module]  # (in_channels, out_channels, stride)


def binary_activations(method: str | Method) -> Method:
    """The method, for a unit whose only nonlinearity before the convolution is the method's sign.

    Args:
        method: a registered method's name or a `Method`.

    Raises:
        ValueError: the method is unknown, or leaves activations real: the unit would be next to linear.
    """
    found = get_method(method)
    if not found.binary_activations:
        raise ValueError(
            f"Expected `method` to binarise activations, but got {found.name!r}, which binarises weights only. "
            "Cure: WeightOnlyBlock, or the unit whose name starts with WeightOnly; they have ReLUs."
        )
    return found


def weights_only(method: str | Method) -> Method:
    """The method, for a unit that has a ReLU before its convolution.

    Args:
        method: a registered method's name or a `Method`.

    Raises:
        ValueError: the method is unknown, or takes the sign of activations: after a ReLU every sign is +1.
    """
    found = get_method(method)
    if found.binary_activations:
        raise ValueError(
            f"Expected `method` to binarise weights only, but got {found.name!r}, which takes the sign of a ReLU's output: "
            "always +1. Cure: another block or unit (ReActBlock, ReActUnit), or a method such as 'bwn'."
        )
    return found


def same_padding(kernel_size: int, dilation: int) -> int:
    """The padding with which a convolution of stride s gives ⌈H/s⌉ × ⌈W/s⌉.

    Args:
        kernel_size: its taps, odd.
        dilation: their distance.

    Raises:
        ValueError: `kernel_size` is even or below 1.
    """
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"Expected `kernel_size` to be odd and >= 1, but got {kernel_size}.")
    return dilation * (kernel_size // 2)


class Unit(nn.Module):
    """Base class: ``conv`` is the convolution, ``bn`` its BatchNorm; (N, in, H, W) -> (N, out, ⌈H/s⌉, ⌈W/s⌉)."""

    conv: nn.Conv2d | BinaryConv2d
    bn: nn.BatchNorm2d


class RealUnit(Unit):
    """BatchNorm(conv(ReLU(x))), real-valued.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the convolution.
        kernel_size: taps of the convolution, odd.
        dilation: distance of the taps.

    Raises:
        ValueError: `kernel_size` is even or below 1.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, kernel_size: int = 3, dilation: int = 1
    ) -> None:
        super().__init__()
        self.activation = nn.ReLU()
        padding = same_padding(kernel_size, dilation)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, bias=False)
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
        kernel_size: taps of the convolution, odd.
        dilation: distance of the taps.

    Raises:
        ValueError: the method is unknown or binarises weights only, or a size is out of range.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        method: str | Method = "xnor",
        kernel_size: int = 3,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        padding = same_padding(kernel_size, dilation)
        self.conv = BinaryConv2d(
            in_channels, out_channels, kernel_size, stride, padding, dilation, method=binary_activations(method)
        )
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, H, W)."""
        y: Tensor = self.bn(self.conv(x))
        return y


class WeightOnlyUnit(RealUnit):
    """BatchNorm(bconv(ReLU(x))): binary weights on real activations (BinaryConnect, BWN).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the convolution.
        method: how weights become ±1; one that leaves activations real.
        kernel_size: taps of the convolution, odd.
        dilation: distance of the taps.

    Raises:
        ValueError: the method is unknown or binarises activations, or a size is out of range.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        method: str | Method = "bwn",
        kernel_size: int = 3,
        dilation: int = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, stride, kernel_size, dilation)
        padding = same_padding(kernel_size, dilation)
        self.conv = BinaryConv2d(
            in_channels, out_channels, kernel_size, stride, padding, dilation, method=weights_only(method)
        )


class BiRealUnit(PlainUnit):
    """BatchNorm(bconv(x)) + shortcut(x): a real-valued path around the binary convolution (Liu et al., Bi-Real Net, 2018).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the convolution.
        method: how weights and activations become ±1.
        kernel_size: taps of the convolution, odd.
        dilation: distance of the taps.
        path: (in_channels, out_channels, stride) -> the real-valued path.

    Raises:
        ValueError: as for `PlainUnit`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        method: str | Method = "bireal",
        kernel_size: int = 3,
        dilation: int = 1,
        path: PathFactory = shortcut,
    ) -> None:
        super().__init__(in_channels, out_channels, stride, method, kernel_size, dilation)
        self.shortcut = path(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, H, W)."""
        y: Tensor = super().forward(x) + self.shortcut(x)
        return y
