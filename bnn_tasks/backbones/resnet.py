"""ResNet-18, -34 and -50 at any width, built from any residual block (He et al., Deep Residual Learning, 2016)."""

from collections.abc import Callable, Sequence

from timm.models import FeatureInfo
from torch import Tensor, nn

from bnn_tasks.backbones.block import Block
from bnn_tasks.backbones.stages import BlockStage, StagedBackbone, StageFactory, build_stages
from bnn_tasks.backbones.unit_blocks import ReActBlock

# depth: blocks per stage (He et al., 2016, table 1), expansion of its blocks
DEPTHS = {18: ((2, 2, 2, 2), 1), 34: ((3, 4, 6, 3), 1), 50: ((3, 4, 6, 3), 4)}


class ResNet(StagedBackbone):
    """A real stem and up to four stages of blocks; stages behind the last map that is returned are not built.

    The stem is convolution, BatchNorm, (ReLU only before blocks that do not take the sign of their input), max-pooling.

    Args:
        depth: 18 or 34, of basic blocks, or 50, of bottlenecks.
        block: (in_channels, out_channels, stride) -> residual block.
        width: channels of the stem, >= 1; the stages have 1, 2, 4 and 8 times as many, four times that with bottlenecks.
        stem_kernel: size of the stem's convolution, odd; 7 is the paper's and the one that float checkpoints have, 3
            leaves fewer real multiplications (1.2 instead of 6.5 % of all at width 64).
        out_indices: which maps to return, of 0 (stem, stride 2), 1, 2, 3, 4 (stages, stride 4 to 32).
        stage: (block, in_channels, out_channels, stride, count) -> stage; a list has one for each of the four stages.
        entry_stride: pixels between the positions at which the first stage works: 4 is the paper's; 2 leaves the stem's
            max-pooling out, so that small objects meet binary layers at twice the resolution (maps 1 to 4 then have stride 2
            to 16, and every stage costs four times as much).
        in_channels: channels of the images, >= 1; 3 is RGB, 1 grey or infrared.
        output_stride: most pixels between the positions of a map, 8, 16 or 32: stages that would be coarser keep their
            resolution and double their taps' distance instead (Yu and Koltun, Dilated Convolutions, 2016), as segmentation
            wants it. The first block of such a stage is dilated like its others. A stage that says its own ``dilations``
            (`GroupStage`) keeps these.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        depth: int = 18,
        block: Callable[[int, int, int], Block] = ReActBlock,
        width: int = 64,
        stem_kernel: int = 7,
        out_indices: Sequence[int] = (2, 3, 4),
        stage: Sequence[StageFactory] | StageFactory = BlockStage,
        entry_stride: int = 4,
        in_channels: int = 3,
        output_stride: int = 32,
    ) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"Expected `depth` to be one of {sorted(DEPTHS)}, but got {depth}.")
        if width < 1:
            raise ValueError(f"Expected `width` to be >= 1, but got {width}.")
        if stem_kernel < 1 or stem_kernel % 2 == 0:
            raise ValueError(f"Expected `stem_kernel` to be odd and >= 1, but got {stem_kernel}.")
        if entry_stride not in (2, 4):
            raise ValueError(f"Expected `entry_stride` to be 2 or 4, but got {entry_stride}.")
        if in_channels < 1:
            raise ValueError(f"Expected `in_channels` to be >= 1, but got {in_channels}.")
        if output_stride not in (8, 16, 32):
            raise ValueError(f"Expected `output_stride` to be 8, 16 or 32, but got {output_stride}.")
        self._set_out_indices(out_indices, 5)
        counts, expansion = DEPTHS[depth]
        widths = [width * expansion * 2**index for index in range(4)]
        reductions = [min(entry_stride * 2**index, output_stride) for index in range(4)]
        strides = [new // old for new, old in zip(reductions, (entry_stride, *reductions))]
        dilations = [entry_stride * 2**index // reduction for index, reduction in enumerate(reductions)]
        sizes = list(zip(widths, strides, counts))[: max(out_indices)]
        stages = build_stages(stage, block, width, sizes, 4, dilations)
        if stages and stages[0].entry.expansion != expansion:
            raise ValueError(
                f"Expected a `block` of expansion {expansion} for depth {depth}, but got {type(stages[0].entry).__name__}. "
                "Cure: a basic block (BLOCKS) for depths 18 and 34, a bottleneck (BOTTLENECKS) for depth 50."
            )
        signed = bool(stages) and stages[0].entry.signed_input
        self.conv1 = nn.Conv2d(in_channels, width, stem_kernel, 2, stem_kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.Identity() if signed else nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1) if entry_stride == 4 else nn.Identity()
        self._add_stages(stages)
        self.feature_info = FeatureInfo(
            [{"num_chs": width, "reduction": 2, "module": "act1"}]
            + [
                {"num_chs": channels, "reduction": reduction, "module": f"layer{index + 1}"}
                for index, (channels, reduction) in enumerate(zip(widths, reductions))
            ],
            self.out_indices,
        )
        self._initialise_real_convolutions()

    def forward(self, x: Tensor) -> list[Tensor]:
        """Extract features from `x`, (N, in_channels, H, W), normalised; one map per entry of ``out_indices``."""
        stem = self.act1(self.bn1(self.conv1(x)))
        maps = [stem]
        if self.stages:
            maps += self._run_stages(self.maxpool(stem))
        return [maps[index] for index in self.out_indices]
