"""Context modules: what a decoder does with the coarsest map so that a position sees far around itself."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bnn_tasks.backbones import BranchSum, ReActUnit
from bnn_tasks.models.fpn import Lateral
from bnn_tasks.models.resize import BilinearLike
from bnn_tasks.models.segmentation_decoder import check_positive
from bnn_tasks.models.single_value_norm import SingleValueBatchNorm2d
from bnn_tasks.models.unit_factory import DilatedUnitFactory, UnitFactory


class Context(nn.Module):
    """Base class: (N, in_channels, h, w) -> (N, channels, h, w).

    Attributes:
        channels: of the output.
    """

    channels: int


class ImagePooling(nn.Module):
    """The mean over all positions, real 1×1 convolution, BatchNorm, at every position: DeepLabV3's image-level features.

    The paper's ReLU is left to the unit that reads it, as everywhere here: of a ReLU's output every sign is +1.

    Args:
        channels: of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn = SingleValueBatchNorm2d(channels)  # of one position a picture: the last batch may be one picture
        self.resize = BilinearLike()

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, channels, h, w)."""
        pooled = self.bn(self.conv(self.pool(x)))
        y: Tensor = self.resize(pooled, x)
        return y


def _check_rates(rates: Sequence[int]) -> None:
    if not rates or min(rates) < 1:
        raise ValueError(f"Expected `rates` to be a number >= 1 for each branch, at least one, but got {list(rates)}.")


class ASPP(Context):
    """Atrous spatial pyramid pooling (Chen et al., DeepLabV3, 2017): a 1×1 unit, 3×3 units of several rates, image pooling.

    A real 1×1 convolution leads to the branches' channels first, where the paper's branches each do so: around a binary branch
    it would take a real path of the same size as the branch. The branches' maps are concatenated and a 1×1 unit joins them.

    Args:
        in_channels: channels of the input.
        channels: of every branch and of the output; the paper's 256.
        rates: dilations of the 3×3 units; the paper's 6, 12, 18 are for stride 16, twice these for stride 8.
        unit: (in_channels, out_channels, stride), and by name kernel_size and dilation -> the branches' unit, real or binary.
        projection: the same -> the unit that joins the branches; binary, its real path should be `ChannelPath`, the
            branches' mean, since a 1×1 convolution would be as large as the binary one.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 256,
        rates: Sequence[int] = (6, 12, 18),
        unit: UnitFactory = ReActUnit,
        projection: UnitFactory = ReActUnit,
    ) -> None:
        super().__init__()
        check_positive(channels=channels)
        _check_rates(rates)
        build: DilatedUnitFactory = unit
        join: DilatedUnitFactory = projection
        self.channels = channels
        self.entry = Lateral(in_channels, channels)
        self.branches = nn.ModuleList([build(channels, channels, 1, kernel_size=1)])
        self.branches.extend(build(channels, channels, 1, dilation=rate) for rate in rates)
        self.pooling = ImagePooling(channels)
        self.projection = join(channels * (len(rates) + 2), channels, 1, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, h, w)."""
        x = self.entry(x)
        y: Tensor = self.projection(torch.cat([*(branch(x) for branch in self.branches), self.pooling(x)], dim=1))
        return y


class BPAC(Context):
    """Binary parallel atrous convolution (Zhuang et al., Structured Binary Neural Networks, 2019): a rate for every branch.

    y = Σ_k λ_k · F_k(x), λ learned and 1/K at first: GroupNet's homogeneous branches, which approximate one real-valued
    layer, see the further the larger their rate, at no further cost. In the published code a loop variable gives all
    branches the last rate; here every branch has its own. The same within the backbone: `GroupStage` with ``dilations``.

    Args:
        in_channels: channels of the input; a real 1×1 convolution leads to `channels`.
        channels: of every branch and of the output.
        rates: dilation of each branch; 2 to 6 are the paper's in its third stage.
        depth: units a branch, >= 1.
        unit: (in_channels, out_channels, stride), and by name dilation -> the branches' unit, real or binary.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 256,
        rates: Sequence[int] = (2, 3, 4, 5, 6),
        depth: int = 1,
        unit: UnitFactory = ReActUnit,
    ) -> None:
        super().__init__()
        check_positive(channels=channels, depth=depth)
        _check_rates(rates)
        build: DilatedUnitFactory = unit
        self.channels = channels
        self.entry = Lateral(in_channels, channels)
        self.branches = nn.ModuleList(
            nn.Sequential(*(build(channels, channels, 1, dilation=rate) for _ in range(depth))) for rate in rates
        )
        self.sum = BranchSum(len(rates))

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, h, w)."""
        x = self.entry(x)
        maps: list[Any] = [branch(x) for branch in self.branches]
        y: Tensor = self.sum(*maps)
        return y
