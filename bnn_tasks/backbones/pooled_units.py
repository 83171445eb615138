"""Convolution, pooling and BatchNorm in two orders: what XNOR-Net's ablation of block orders compares (2016, table 3).

Where a layer has a pool, a network's conv layer is B-A-C-P or C-B-A-P in XNOR-Net's words (BatchNorm, activation,
convolution, pooling). A net is a chain of them, so the order is told by what stands between two convolutions:

    B-A-C-P     conv, pool, BatchNorm, sign, conv: the pool chooses among real sums        `BACPUnit`
    C-B-A-P     conv, BatchNorm, sign, pool, conv: the pool chooses among ±1, mostly +1    `CBAPUnit`

The sign lives in the next binary convolution. In C-B-A-P it stands there too, after the pool: a maximum commutes with a
sign, max(sign(x)) = sign(max(x)), so forward computes the same; the gradient goes to the window's maximum instead of to
the first of equal signs.
"""

from torch import Tensor, nn

from bnn_tasks.backbones.units import PlainUnit, RealUnit, WeightOnlyUnit
from bnn_tasks.binary import Method


def max_pool(kernel_size: int) -> nn.MaxPool2d:
    """Max-pooling of stride 2 to ⌈H/2⌉ × ⌈W/2⌉, of any window.

    Args:
        kernel_size: the window; 2 is VGG's, 3 AlexNet's.
    """
    return nn.MaxPool2d(kernel_size, 2, (kernel_size - 1) // 2, ceil_mode=kernel_size % 2 == 0)


def pool(stride: int, kernel_size: int) -> nn.Module:
    """`max_pool` for stride 2, nothing for stride 1.

    Args:
        stride: 1 or 2.
        kernel_size: the pool's window.

    Raises:
        ValueError: another stride.
    """
    if stride not in (1, 2):
        raise ValueError(f"Expected `stride` to be 1 or 2, but got {stride}.")
    return max_pool(kernel_size) if stride == 2 else nn.Identity()


class BACPUnit(PlainUnit):
    """BatchNorm(pool(bconv(x))): XNOR-Net's order B-A-C-P, the BatchNorm being the next block's.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: 2 pools after the convolution, 1 does not; the convolution itself has stride 1.
        method: how weights and activations become ±1.
        kernel_size: taps of the convolution, odd.
        pool_kernel: window of the max-pooling.
        dilation: distance of the convolution's taps.

    Raises:
        ValueError: as for `PlainUnit`, or `stride` is neither 1 nor 2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        method: str | Method = "xnor",
        kernel_size: int = 3,
        pool_kernel: int = 2,
        dilation: int = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, 1, method, kernel_size, dilation)
        self.pool = pool(stride, pool_kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, H, W)."""
        y: Tensor = self.bn(self.pool(self.conv(x)))
        return y


class CBAPUnit(BACPUnit):
    """pool(BatchNorm(bconv(x))): the classic order C-B-A-P; arguments and errors as for `BACPUnit`."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, H, W)."""
        y: Tensor = self.pool(self.bn(self.conv(x)))
        return y


class RealPooledUnit(RealUnit):
    """pool(BatchNorm(conv(ReLU(x)))): the real twin of both, C-B-A-P as float nets have it.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: 2 pools after the BatchNorm, 1 does not; the convolution itself has stride 1.
        kernel_size: taps of the convolution, odd.
        pool_kernel: window of the max-pooling.
        dilation: distance of the convolution's taps.

    Raises:
        ValueError: as for `RealUnit`, or `stride` is neither 1 nor 2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        kernel_size: int = 3,
        pool_kernel: int = 2,
        dilation: int = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, 1, kernel_size, dilation)
        self.pool = pool(stride, pool_kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, H, W)."""
        y: Tensor = self.pool(super().forward(x))
        return y


class WeightOnlyPooledUnit(WeightOnlyUnit):
    """pool(BatchNorm(bconv(ReLU(x)))): binary weights on real activations, for BinaryConnect and BWN.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: 2 pools after the BatchNorm, 1 does not; the convolution itself has stride 1.
        method: how weights become ±1; one that leaves activations real.
        kernel_size: taps of the convolution, odd.
        pool_kernel: window of the max-pooling.
        dilation: distance of the convolution's taps.

    Raises:
        ValueError: as for `WeightOnlyUnit`, or `stride` is neither 1 nor 2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        method: str | Method = "bwn",
        kernel_size: int = 3,
        pool_kernel: int = 2,
        dilation: int = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, 1, method, kernel_size, dilation)
        self.pool = pool(stride, pool_kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, H, W)."""
        y: Tensor = self.pool(super().forward(x))
        return y
