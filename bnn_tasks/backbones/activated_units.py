"""Units with a nonlinearity or a gate besides the sign: `BiRealUnit` and one thing more."""

from torch import Tensor, nn

from bnn_tasks.backbones.elementwise import ChannelScale, Maxout
from bnn_tasks.backbones.paths import local_path, shortcut
from bnn_tasks.backbones.units import BiRealUnit, PathFactory
from bnn_tasks.binary import Method, RPReLU


class ActivatedUnit(BiRealUnit):
    """activation(BatchNorm(bconv(x)) + shortcut(x)); the activation keeps signs, since the next unit takes them.

    A subclass sets ``activation``; arguments and errors are those of `BiRealUnit`.
    """

    activation: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, H, W)."""
        y: Tensor = self.activation(super().forward(x))
        return y


class ReActUnit(ActivatedUnit):
    """RPReLU(BatchNorm(bconv(x)) + shortcut(x)) (Liu et al., ReActNet, 2020).

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
        method: str | Method = "react",
        kernel_size: int = 3,
        dilation: int = 1,
        path: PathFactory = shortcut,
    ) -> None:
        super().__init__(in_channels, out_channels, stride, method, kernel_size, dilation, path)
        self.activation = RPReLU(out_channels)


class LocalUnit(ReActUnit):
    """`ReActUnit` whose real path has a 3×3 filter a channel: RPReLU(BatchNorm(bconv(x)) + x + w ⊛ x).

    Ours: the local differences that the sign drops go on in real numbers, at 1/C of the convolution's multiply-adds.

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
        method: str | Method = "react",
        kernel_size: int = 3,
        dilation: int = 1,
        path: PathFactory = local_path,
    ) -> None:
        super().__init__(in_channels, out_channels, stride, method, kernel_size, dilation, path)


class PReLUUnit(ActivatedUnit):
    """PReLU(BatchNorm(bconv(x)) + shortcut(x)): Bi-Real's unit with a slope a channel (Bulat et al., 2019).

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
        super().__init__(in_channels, out_channels, stride, method, kernel_size, dilation, path)
        self.activation = nn.PReLU(out_channels)


class ClippedUnit(ActivatedUnit):
    """hardtanh(BatchNorm(bconv(x)) + shortcut(x)): IR-Net's and ReCU's unit on CIFAR (Qin et al., IR-Net, 2020).

    Their shortcut drops pixels and pads channels with zeros (option A); `shortcut` loses nothing.

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
        method: str | Method = "ir_net",
        kernel_size: int = 3,
        dilation: int = 1,
        path: PathFactory = shortcut,
    ) -> None:
        super().__init__(in_channels, out_channels, stride, method, kernel_size, dilation, path)
        self.activation = nn.Hardtanh()


class MaxoutUnit(ActivatedUnit):
    """maxout(BatchNorm(bconv(x)) + shortcut(x)): AdaBin's unit (Tu et al., AdaBin, 2022).

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
        method: str | Method = "adabin",
        kernel_size: int = 3,
        dilation: int = 1,
        path: PathFactory = shortcut,
    ) -> None:
        super().__init__(in_channels, out_channels, stride, method, kernel_size, dilation, path)
        self.activation = Maxout(out_channels)


class GatedUnit(BiRealUnit):
    """BatchNorm(bconv(x)) + γ_c · shortcut(x), γ learned, 1 at first: BBG's gated residual (Shen et al., BBG, 2020).

    The formula is reconstructed from descriptions of the paper and not confirmed by it or by code of its authors.

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
        method: str | Method = "bbg",
        kernel_size: int = 3,
        dilation: int = 1,
        path: PathFactory = shortcut,
    ) -> None:
        super().__init__(in_channels, out_channels, stride, method, kernel_size, dilation, path)
        self.gate = ChannelScale(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, H, W)."""
        y: Tensor = self.bn(self.conv(x)) + self.gate(self.shortcut(x))
        return y
