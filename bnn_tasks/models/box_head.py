"""The second stage's head: features of regions -> classes and boxes (Girshick, Fast R-CNN, 2015; Lin et al., FPN, 2017)."""

import math
from collections.abc import Callable

from torch import Tensor, nn

from bnn_tasks.backbones import ChannelGroupMean, ChannelRepeat, ReActUnit, Unit
from bnn_tasks.binary import Method


class BoxHead(nn.Module):
    """Base class: (N, s·s·C, R, 1), one row a region, channel (y·s + x)·C + c -> classes and boxes of every region."""

    def forward(self, x: Tensor) -> dict[str, list[Tensor]]:
        """Raw outputs.

        Args:
            x: (N, s·s·C, R, 1).

        Returns:
            ``cls_logits``: [(N, K + 1, R, 1)], the background last; ``box_deltas``: [(N, 4, R, 1)], the same for all classes.
        """
        raise NotImplementedError


class RegionPath(nn.Sequential):
    """Real-valued path around a fully-connected layer on a region, without a multiplication.

    Channels are averaged in groups to the greatest common divisor of both widths, g, and repeated: y_{jg + c} =
    mean_i x_{ig + c}. Of s·s·C channels to a multiple of C, with no factor of s left over, that is each feature's mean over the
    region's positions. A real 1×1 convolution would be as large as the binary one it goes around.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: 1; a region's row has no neighbours.

    Raises:
        ValueError: `stride` is not 1.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        if stride != 1:
            raise ValueError(f"Expected `stride` to be 1 on rows of regions, but got {stride}.")
        common = math.gcd(in_channels, out_channels)
        self.mean = nn.Identity() if common == in_channels else ChannelGroupMean(in_channels, common)
        self.repeat = nn.Identity() if common == out_channels else ChannelRepeat(out_channels // common)


class BinaryRegionUnit(ReActUnit):
    """A binary fully-connected layer on rows of regions: `ReActUnit` of one tap, with `RegionPath` around it.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: 1.
        method: how weights and activations become ±1.

    Raises:
        ValueError: the method is unknown or binarises weights only, or `stride` is not 1.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, method: str | Method = "react") -> None:
        super().__init__(in_channels, out_channels, stride, method, kernel_size=1, path=RegionPath)


class RealRegionUnit(Unit):
    """ReLU(BatchNorm(linear(x))) on rows of regions: the paper's layer, and the real twin of `BinaryRegionUnit`.

    Not `RealUnit`, whose ReLU comes first and would take the sign from the pyramid's signed features.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: 1.

    Raises:
        ValueError: `stride` is not 1.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        if stride != 1:
            raise ValueError(f"Expected `stride` to be 1 on rows of regions, but got {stride}.")
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, R, 1)."""
        y: Tensor = self.activation(self.bn(self.conv(x)))
        return y


class TwoLayerBoxHead(BoxHead):
    """Two fully-connected layers, then real outputs.

    Args:
        channels: C, of the pyramid.
        size: s, positions a side of a region's features.
        num_classes: K >= 1.
        width: of the layers, >= 1; 1024 is the paper's.
        unit: (in_channels, out_channels, stride) -> the layer, real or binary.

    Raises:
        ValueError: `width` is out of range.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        num_classes: int,
        width: int = 1024,
        unit: Callable[[int, int, int], Unit] = BinaryRegionUnit,
    ) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"Expected `width` to be >= 1, but got {width}.")
        self.first = unit(size * size * channels, width, 1)
        self.second = unit(width, width, 1)
        self.cls_logits = nn.Conv2d(width, num_classes + 1, 1)
        self.box_deltas = nn.Conv2d(width, 4, 1)
        for convolution, std in ((self.cls_logits, 0.01), (self.box_deltas, 0.001)):  # Girshick, 2015, §2.3
            nn.init.normal_(convolution.weight, std=std)
            assert convolution.bias is not None
            nn.init.zeros_(convolution.bias)

    def forward(self, x: Tensor) -> dict[str, list[Tensor]]:
        """See the base class."""
        y = self.second(self.first(x))
        return {"cls_logits": [self.cls_logits(y)], "box_deltas": [self.box_deltas(y)]}
