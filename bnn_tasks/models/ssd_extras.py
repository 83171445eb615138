"""The layers that SSD puts behind its backbone, down to a map of one position (Liu et al., SSD, 2016, fig. 2)."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor, nn

from bnn_tasks.backbones import BiRealUnit, ReActUnit, Unit
from bnn_tasks.binary import BinaryConv2d

PADDED = (True, True, False, False)  # conv8 and conv9 halve the map; conv10 and conv11 take a pixel off each side
STRIDES = (2, 4, 4, 4)  # over the stride of the backbone's last map
WIDTHS = (2, 1, 1, 1)  # channels of the 1×1 layers over `width`; the 3×3 layers have twice as many


def unpadded(unit: Unit) -> Unit:
    """A 3×3 unit of stride 1, made to read only what lies inside the map: (N, in, H, W) -> (N, out, H - 2, W - 2).

    The real-valued path around a binary convolution takes the mean of the 3×3 pixels that the convolution reads.

    Args:
        unit: changed and returned.
    """
    unit.conv.padding = (0, 0)
    if isinstance(unit.conv, BinaryConv2d):
        unit.conv.geometry = replace(unit.conv.geometry, padding=(0, 0))
    if isinstance(unit, BiRealUnit):
        unit.shortcut = nn.Sequential(OrderedDict(pool=nn.AvgPool2d(3, 1), path=unit.shortcut))
    return unit


class SSDExtras(nn.Module):
    """conv8 to conv11: a 1×1 unit, then a 3×3 unit, each; conv8 and conv9 of stride 2, conv10 and conv11 without padding.

    19×19 becomes 10×10, 5×5, 3×3, 1×1. Real are BatchNorms, slopes and the units' paths. The default path where channels change
    is a real 1×1, around a 1×1 layer as large as what is binarised: with ``path`` `ChannelPath` no path has weights.

    Args:
        in_channels: channels of the backbone's last map.
        width: channels of the narrow 1×1 layers, >= 1; conv8 has twice as many, and 3×3 layers twice their 1×1's. 128 is the
            paper's.
        unit: (in_channels, out_channels, stride), and by name kernel_size -> unit, real or binary.

    Attributes:
        channels: of the maps.
        strides: of the maps, over the stride of the backbone's last one.
        padded: whether a map's 3×3 convolution pads.
        smallest: fewest positions a side of the backbone's last map that leave one on the last.

    Raises:
        ValueError: `width` is out of range, or the unit's path does not fit the channels.
    """

    strides = STRIDES
    padded = PADDED
    smallest = 17

    def __init__(
        self,
        in_channels: int,
        width: int = 128,
        unit: Callable[[int, int, int], Unit] = ReActUnit,
    ) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"Expected `width` to be >= 1, but got {width}.")
        build: Callable[..., Unit] = unit
        self.channels = [2 * width * factor for factor in WIDTHS]
        self.names = []
        for number, (out_channels, padded) in enumerate(zip(self.channels, PADDED, strict=True), start=8):
            narrow = out_channels // 2
            first = build(in_channels, narrow, 1, kernel_size=1)
            last = build(narrow, out_channels, 2) if padded else unpadded(build(narrow, out_channels, 1))
            self.names.append(f"conv{number}")
            self.add_module(self.names[-1], nn.Sequential(first, last))
            in_channels = out_channels

    def sides(self, side: int) -> list[int]:
        """Height (or width) of every map.

        Args:
            side: of the backbone's last map, >= 17.
        """
        sides = [side]
        for padded in PADDED:
            sides.append(-(-sides[-1] // 2) if padded else sides[-1] - 2)
        return sides[1:]

    def forward(self, x: Tensor) -> list[Tensor]:
        """The four further maps, fine to coarse.

        Args:
            x: the backbone's last map, (N, in_channels, h, w); h, w >= 17.

        Returns:
            (N, channels[i], h_i, w_i) a level.
        """
        maps = []
        for name in self.names:
            x = self.get_submodule(name)(x)
            maps.append(x)
        return maps
