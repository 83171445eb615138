"""ResNet for small images: 6n + 2 layers in three stages (He et al., Deep Residual Learning, 2016, §4.2)."""

from collections.abc import Callable, Sequence

from timm.models import FeatureInfo
from torch import Tensor, nn

from bnn_tasks.backbones.block import Block
from bnn_tasks.backbones.stages import BlockStage, StagedBackbone, StageFactory, build_stages
from bnn_tasks.backbones.unit_blocks import ReActBlock


class CifarResNet(StagedBackbone):
    """A real 3×3 stem at full resolution and up to three stages of n basic blocks; no stage behind the last map is built.

    Args:
        depth: 6n + 2: 20, 32, 44, 56, ...
        block: (in_channels, out_channels, stride) -> basic block.
        width: channels of the first stage, >= 1; the stages have 1, 2 and 4 times as many. 16 is the paper's; 32 and 48
            are the 2× and 3× widening that win back accuracy (Mishra et al., WRPN, 2018).
        out_indices: which maps to return, of 0, 1, 2: the stages, of stride 1, 2, 4.
        stage: (block, in_channels, out_channels, stride, count) -> stage; a list has one for each of the three stages.
        in_channels: channels of the images, >= 1; 3 is RGB, 1 grey or infrared.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        depth: int = 20,
        block: Callable[[int, int, int], Block] = ReActBlock,
        width: int = 16,
        out_indices: Sequence[int] = (2,),
        stage: Sequence[StageFactory] | StageFactory = BlockStage,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"Expected `depth` to be 6n + 2 (20, 32, 44, 56, ...), but got {depth}.")
        if width < 1:
            raise ValueError(f"Expected `width` to be >= 1, but got {width}.")
        if in_channels < 1:
            raise ValueError(f"Expected `in_channels` to be >= 1, but got {in_channels}.")
        self._set_out_indices(out_indices, 3)
        widths = [width, 2 * width, 4 * width]
        sizes = list(zip(widths, (1, 2, 2), [(depth - 2) // 6] * 3))[: max(out_indices) + 1]
        stages = build_stages(stage, block, width, sizes, 3)
        self.conv1 = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.Identity() if stages[0].entry.signed_input else nn.ReLU()
        self._add_stages(stages)
        self.feature_info = FeatureInfo(
            [
                {"num_chs": channels, "reduction": 2**index, "module": f"layer{index + 1}"}
                for index, channels in enumerate(widths)
            ],
            self.out_indices,
        )
        self._initialise_real_convolutions()

    def forward(self, x: Tensor) -> list[Tensor]:
        """Extract features from `x`, (N, in_channels, H, W), normalised; one map per entry of ``out_indices``."""
        maps = self._run_stages(self.act1(self.bn1(self.conv1(x))))
        return [maps[index] for index in self.out_indices]
