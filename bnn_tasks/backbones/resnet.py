"""ResNet-18 and -34 at any width, built from any basic block (He et al., Deep Residual Learning, 2016)."""

from collections.abc import Callable, Sequence

from timm.models import FeatureInfo
from torch import Tensor, nn

from bnn_tasks.backbones.base import Backbone
from bnn_tasks.backbones.blocks import Block, ReActBlock

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}  # blocks per stage, He et al., 2016, table 1


class ResNet(Backbone):
    """A real stem and up to four stages of basic blocks; stages behind the last map that is returned are not built.

    The stem is convolution, BatchNorm, (ReLU only before blocks that do not take the sign of their input), max-pooling.

    Args:
        depth: 18 or 34.
        block: (in_channels, out_channels, stride) -> basic block.
        width: channels of the first stage, >= 1; the stages have 1, 2, 4 and 8 times as many.
        stem_kernel: size of the stem's convolution, odd; 7 is the paper's and the one that float checkpoints have, 3
            leaves fewer real multiplications (1.2 instead of 6.5 % of all at width 64).
        out_indices: which maps to return, of 0 (stem, stride 2), 1, 2, 3, 4 (stages, stride 4 to 32).

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
    ) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"Expected `depth` to be one of {sorted(DEPTHS)}, but got {depth}.")
        if width < 1:
            raise ValueError(f"Expected `width` to be >= 1, but got {width}.")
        if stem_kernel < 1 or stem_kernel % 2 == 0:
            raise ValueError(f"Expected `stem_kernel` to be odd and >= 1, but got {stem_kernel}.")
        if not out_indices or sorted(set(out_indices)) != list(out_indices) or not set(out_indices) <= set(range(5)):
            raise ValueError(f"Expected `out_indices` to be increasing numbers from 0 to 4, but got {out_indices}.")
        stages = []
        channels = width
        for index, count in enumerate(DEPTHS[depth][: max(out_indices)]):
            out_channels = width * 2**index
            blocks = []
            for position in range(count):
                blocks.append(block(channels, out_channels, 2 if index > 0 and position == 0 else 1))
                channels = out_channels
            stages.append(nn.Sequential(*blocks))
        signed = bool(stages) and stages[0][0].signed_input
        self.conv1 = nn.Conv2d(3, width, stem_kernel, 2, stem_kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.Identity() if signed else nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.stages = [f"layer{index + 1}" for index in range(len(stages))]
        for name, stage in zip(self.stages, stages, strict=True):
            self.add_module(name, stage)
        self.out_indices = tuple(out_indices)
        self.feature_info = FeatureInfo(
            [{"num_chs": width, "reduction": 2, "module": "act1"}]
            + [
                {"num_chs": width * 2**stage, "reduction": 4 * 2**stage, "module": f"layer{stage + 1}"}
                for stage in range(4)
            ],
            self.out_indices,
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> list[Tensor]:
        """Extract features from `x`, (N, 3, H, W), normalised; one map per entry of ``out_indices``."""
        x = self.act1(self.bn1(self.conv1(x)))
        maps = [x]
        if self.stages:
            x = self.maxpool(x)
        for name in self.stages:
            x = self.get_submodule(name)(x)
            maps.append(x)
        return [maps[index] for index in self.out_indices]
