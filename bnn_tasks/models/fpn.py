"""Feature pyramid (Lin et al., Feature Pyramid Networks, 2017; levels beyond the backbone's as in RetinaNet, 2017)."""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from bnn_tasks.backbones import ReActUnit
from bnn_tasks.models.unit_factory import UnitFactory


class ResizeLike(nn.Module):
    """Nearest-neighbour resize to the size of a reference map."""

    def forward(self, x: Tensor, reference: Tensor) -> Tensor:
        """Resize `x`, (N, C, h, w), to (N, C, H, W) of `reference`, (N, C', H, W)."""
        return F.interpolate(x, size=reference.shape[-2:], mode="nearest")


class Lateral(nn.Sequential):
    """Real 1×1 convolution and BatchNorm: the path on which a level's own features stay real-valued.

    Args:
        in_channels: channels of the backbone's map.
        channels: channels of the pyramid.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels)


class FPN(nn.Module):
    """Top-down pyramid: real 1×1 laterals, one 3×3 unit a level, stride-2 units for further levels.

    Args:
        in_channels: channels of the backbone's maps, fine to coarse.
        channels: channels of every pyramid level.
        unit: (in_channels, out_channels, stride) -> the 3×3 unit, real or binary.
        extra_levels: levels after the backbone's last, each half the size of the one before; 2 is RetinaNet's P6, P7.
        clip: what each lateral's output goes through, built once a level; `PercentileClip` takes outliers off this real path.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int = 128,
        unit: UnitFactory = ReActUnit,
        extra_levels: int = 0,
        clip: Callable[[], nn.Module] = nn.Identity,
    ) -> None:
        super().__init__()
        if not in_channels or channels < 1 or extra_levels < 0:
            raise ValueError(
                "Expected at least one backbone map, `channels` >= 1 and `extra_levels` >= 0, but got "
                f"in_channels={list(in_channels)}, channels={channels}, extra_levels={extra_levels}."
            )
        self.channels = channels
        self.laterals = nn.ModuleList(Lateral(count, channels) for count in in_channels)
        self.clips = nn.ModuleList(clip() for _ in in_channels)
        self.resize = ResizeLike()
        self.outputs = nn.ModuleList(unit(channels, channels, 1) for _ in in_channels)
        self.extra = nn.ModuleList(unit(channels, channels, 2) for _ in range(extra_levels))

    @property
    def levels(self) -> int:
        """How many maps ``forward`` returns."""
        return len(self.outputs) + len(self.extra)

    def strides(self, reduction: Sequence[int]) -> list[int]:
        """Pixels between the positions of every level.

        Args:
            reduction: the same of the backbone's maps, fine to coarse.
        """
        return [*reduction, *(reduction[-1] * 2 ** (extra + 1) for extra in range(len(self.extra)))]

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Build the pyramid.

        Args:
            maps: the backbone's maps, fine to coarse, (N, in_channels[i], h_i, w_i).

        Returns:
            (N, channels, h, w) a level, fine to coarse.
        """
        merged = [clip(lateral(x)) for clip, lateral, x in zip(self.clips, self.laterals, maps, strict=True)]
        for level in range(len(merged) - 2, -1, -1):
            merged[level] = merged[level] + self.resize(merged[level + 1], merged[level])
        pyramid = [output(x) for output, x in zip(self.outputs, merged, strict=True)]
        for unit in self.extra:
            pyramid.append(unit(pyramid[-1]))
        return pyramid
