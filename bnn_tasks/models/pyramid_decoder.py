"""Decoders that climb from coarse to fine: a feature pyramid added up, and a ladder of real-valued skip paths."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from bnn_tasks.backbones import LocalUnit, ReActUnit
from bnn_tasks.models.fpn import FPN, Lateral
from bnn_tasks.models.resize import BilinearLike
from bnn_tasks.models.segmentation_decoder import (
    ActivationFactory,
    PixelClassifier,
    SegmentationDecoder,
    check_maps,
)
from bnn_tasks.models.unit_factory import UnitFactory


class PyramidDecoder(SegmentationDecoder):
    """A feature pyramid whose levels are resized to the finest and added up (Kirillov et al., Panoptic FPN, 2019).

    Panoptic FPN has a stack of convolutions a level for its resize in steps of two; here the pyramid's own unit is all.

    Args:
        in_channels: channels of the backbone's maps, fine to coarse.
        num_classes: K >= 1.
        neck: channels of the maps -> pyramid.
        unit: (in_channels, out_channels, stride) -> the 3×3 unit on the sum, real or binary.
        activation: builds what comes before the classifier: a ReLU after real units.
        dropout: share of channels that training drops before the classifier, in [0, 1).
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        neck: Callable[[Sequence[int]], FPN] = FPN,
        unit: UnitFactory = ReActUnit,
        activation: ActivationFactory = nn.Identity,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.neck = neck(in_channels)
        self.resize = BilinearLike()
        self.unit = unit(self.neck.channels, self.neck.channels, 1)
        self.classifier = PixelClassifier(self.neck.channels, num_classes, activation, dropout)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits (N, K, h, w) at the finest map."""
        pyramid = self.neck(maps)
        total = pyramid[0]
        for level in pyramid[1:]:
            total = total + self.resize(level, pyramid[0])
        logits: Tensor = self.classifier(self.unit(total))
        return logits


class SkipDecoder(SegmentationDecoder):
    """Coarse to fine, a step a map: y_l = unit_l(lateral_l(x_l) + resize(y_{l+1})), no step without a real-valued path.

    Ours. Every map comes in over a real 1×1 convolution and is added, not signed, and the units keep a real path of their
    own (`LocalUnit`: with a real 3×3 filter a channel), so that what a fine map knows of a boundary reaches the classifier
    in real numbers. With the stem's map (stride 2) as the finest, logits come at half the images' resolution.

    Args:
        in_channels: channels of the backbone's maps, fine to coarse.
        num_classes: K >= 1.
        channels: of each step, fine to coarse; a step's map is led to them by its real 1×1 convolution.
        unit: (in_channels, out_channels, stride) -> the 3×3 unit of every step, real or binary.
        activation: builds what comes before the classifier: a ReLU after real units.
        dropout: share of channels that training drops before the classifier, in [0, 1).

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        channels: Sequence[int] = (64, 128, 128, 128),
        unit: UnitFactory = LocalUnit,
        activation: ActivationFactory = nn.Identity,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_maps(in_channels, 1, "SkipDecoder")
        if len(channels) != len(in_channels) or min(channels) < 1:
            raise ValueError(
                f"Expected `channels` to be {len(in_channels)} numbers >= 1, one a map, but got {list(channels)}."
            )
        self.laterals = nn.ModuleList(Lateral(count, own) for count, own in zip(in_channels, channels))
        # Before the resize, where there are a quarter of the positions.
        self.reduce = nn.ModuleList(
            nn.Identity() if coarse == fine else Lateral(coarse, fine) for fine, coarse in pairwise(channels)
        )
        self.units = nn.ModuleList(unit(own, own, 1) for own in channels)
        self.resize = BilinearLike()
        self.classifier = PixelClassifier(channels[0], num_classes, activation, dropout)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits (N, K, h, w) at the finest map."""
        y = self.units[-1](self.laterals[-1](maps[-1]))
        for index in range(len(maps) - 2, -1, -1):
            own = self.laterals[index](maps[index])
            y = self.units[index](own + self.resize(self.reduce[index](y), own))
        logits: Tensor = self.classifier(y)
        return logits
