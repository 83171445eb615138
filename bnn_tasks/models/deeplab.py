"""DeepLabV3 and DeepLabV3+ (Chen et al., 2017 and 2018): a context module, and for V3+ one finer map."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from bnn_tasks.backbones import ReActUnit
from bnn_tasks.models.context import ASPP, Context
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

ContextFactory = Callable[[int], Context]


class DeepLabV3Decoder(SegmentationDecoder):
    """A context module on the coarsest map, a 3×3 unit, the classifier.

    Args:
        in_channels: channels of the backbone's maps, of which the last is read.
        num_classes: K >= 1.
        context: channels of the map -> context module.
        unit: (in_channels, out_channels, stride) -> the 3×3 unit, real or binary.
        activation: builds what comes before the classifier: a ReLU after real units.
        dropout: share of channels that training drops before the classifier, in [0, 1).

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        context: ContextFactory = ASPP,
        unit: UnitFactory = ReActUnit,
        activation: ActivationFactory = nn.Identity,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_maps(in_channels, 1, "DeepLabV3Decoder")
        self.context = context(in_channels[-1])
        channels = self.context.channels
        self.unit = unit(channels, channels, 1)
        self.classifier = PixelClassifier(channels, num_classes, activation, dropout)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits (N, K, h, w) at the coarsest map."""
        logits: Tensor = self.classifier(self.unit(self.context(maps[-1])))
        return logits


class DeepLabV3PlusDecoder(SegmentationDecoder):
    """A context module on the coarsest map, resized to the finest and joined with it by 3×3 units (Chen et al., 2018).

    Args:
        in_channels: channels of the backbone's maps, fine to coarse; the first and the last are read.
        num_classes: K >= 1.
        context: channels of the coarsest map -> context module of C channels.
        low_channels: of the finest map after its real 1×1 convolution; None is C. The paper has 48 beside 256, so that coarse
            features outweigh fine ones; a binary unit's real path wants a divisor or a multiple, so that it can do without
            a 1×1 convolution as large as the binary one.
        entry: (C + low_channels, C, 1) -> the 3×3 unit that joins the two, real or binary; `ChannelPath` as its path is
            their mean.
        unit: (C, C, 1) -> the 3×3 unit after it.
        activation: builds what comes before the classifier: a ReLU after real units.
        dropout: share of channels that training drops before the classifier, in [0, 1).

    Raises:
        ValueError: an argument is out of range, or the backbone has too few maps.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        context: ContextFactory = ASPP,
        low_channels: int | None = None,
        entry: UnitFactory = ReActUnit,
        unit: UnitFactory = ReActUnit,
        activation: ActivationFactory = nn.Identity,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_maps(in_channels, 2, "DeepLabV3PlusDecoder")
        self.context = context(in_channels[-1])
        channels = self.context.channels
        low = channels if low_channels is None else low_channels
        check_positive(low_channels=low)
        self.low = Lateral(in_channels[0], low)
        self.resize = BilinearLike()
        self.entry = entry(channels + low, channels, 1)
        self.unit = unit(channels, channels, 1)
        self.classifier = PixelClassifier(channels, num_classes, activation, dropout)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits (N, K, h, w) at the finest map."""
        low = self.low(maps[0])
        joined = torch.cat([self.resize(self.context(maps[-1]), low), low], dim=1)
        logits: Tensor = self.classifier(self.unit(self.entry(joined)))
        return logits
