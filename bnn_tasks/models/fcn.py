"""FCN-32s, -16s and -8s (Long et al., Fully Convolutional Networks for Semantic Segmentation, 2015)."""

from collections.abc import Sequence

from torch import Tensor, nn

from bnn_tasks.backbones import ReActUnit
from bnn_tasks.models.fpn import Lateral
from bnn_tasks.models.resize import BilinearLike
from bnn_tasks.models.segmentation_decoder import (
    ActivationFactory,
    PixelClassifier,
    SegmentationDecoder,
    check_maps,
    check_positive,
)
from bnn_tasks.models.unit_factory import UnitFactory


class FCNDecoder(SegmentationDecoder):
    """Units on the coarsest map, a score a class on each map that is used, coarse scores resized and added to finer ones.

    score_l = 1×1(map_l) + resize(score_{l+1}). One map used is FCN-32s, two FCN-16s, three FCN-8s, for maps of stride 8, 16
    and 32. The resize is bilinear, which is where the paper's deconvolutions start (its last one stays there). The
    paper's two 7×7 and 1×1 convolutions of 4096 channels are `depth` 3×3 units.

    Args:
        in_channels: channels of the backbone's maps, fine to coarse.
        num_classes: K >= 1.
        scores: maps that are scored, from the coarsest, >= 1.
        channels: of the units on the coarsest map; a real 1×1 convolution leads to them.
        depth: units, >= 1.
        unit: (in_channels, out_channels, stride) -> the 3×3 unit, real or binary.
        activation: builds what comes before each score's convolution: a ReLU after real units.
        dropout: share of channels that training drops before the coarsest score, in [0, 1).

    Raises:
        ValueError: an argument is out of range, or the backbone has too few maps.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        scores: int = 3,
        channels: int = 256,
        depth: int = 1,
        unit: UnitFactory = ReActUnit,
        activation: ActivationFactory = nn.Identity,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_positive(scores=scores, channels=channels, depth=depth)
        check_maps(in_channels, scores, "FCNDecoder")
        self.entry = Lateral(in_channels[-1], channels)
        self.units = nn.Sequential(*(unit(channels, channels, 1) for _ in range(depth)))
        finer = in_channels[len(in_channels) - scores : -1]
        self.scores = nn.ModuleList(PixelClassifier(count, num_classes, activation) for count in finer)
        self.scores.append(PixelClassifier(channels, num_classes, activation, dropout))
        self.resize = BilinearLike()

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits (N, K, h, w) at the finest scored map."""
        used = [*maps[len(maps) - len(self.scores) : -1], self.units(self.entry(maps[-1]))]
        logits: Tensor = self.scores[-1](used[-1])
        for score, x in zip(reversed(self.scores[:-1]), reversed(used[:-1])):
            own = score(x)
            logits = own + self.resize(logits, own)
        return logits
