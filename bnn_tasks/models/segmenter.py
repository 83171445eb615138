"""Semantic segmentation: a backbone's maps, a decoder, one class a pixel."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from bnn_tasks.backbones import Backbone
from bnn_tasks.models.detector import DecodeNode, Normalize, check_every_size
from bnn_tasks.models.resize import resize_bilinear
from bnn_tasks.models.segmentation_decoder import SegmentationDecoder
from bnn_tasks.models.segmentation_losses import CrossEntropyLoss, SegmentationLoss

MOST_CLASSES = 255  # a mask is a byte a pixel, and 255 is void


class Segmenter(nn.Module):
    """Normalisation, a backbone's maps, a decoder that gives logits; what it is called is its decoder's name.

    ``forward`` never changes meaning with ``training``: logits at the decoder's own resolution, from which loss, classes
    and export start. They are resized bilinearly to the images' size before anything is judged.

    Args:
        num_classes: K, 1..255; labels are 0 … K-1, and 255 is void.
        backbone: image -> feature maps.
        decoder: (channels of the backbone's maps, K) -> decoder.
        losses: what is minimised, added up; None is one `CrossEntropyLoss`.
        normalize: the model's first node.

    Attributes:
        num_classes: K.
        feature_channels: of the maps that ``features`` returns, fine to coarse.
        feature_strides: pixels between their positions.

    Raises:
        ValueError: an argument is out of range, or two losses have one name.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: Backbone,
        decoder: Callable[[Sequence[int], int], SegmentationDecoder],
        losses: list[SegmentationLoss] | None = None,
        normalize: Normalize | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= num_classes <= MOST_CLASSES:
            raise ValueError(f"Expected `num_classes` to be in [1, {MOST_CLASSES}], but got {num_classes}.")
        self.num_classes = num_classes
        self.feature_channels = list(backbone.feature_info.channels())
        self.feature_strides = list(backbone.feature_info.reduction())
        self.normalize = Normalize() if normalize is None else normalize
        self.backbone = backbone
        self.decoder = decoder(self.feature_channels, num_classes)
        self.losses = nn.ModuleList([CrossEntropyLoss()] if losses is None else losses)
        names = [loss.name for loss in self._losses()]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"Expected at least one loss and each once, but got {names}.")
        for loss in self._losses():
            loss.check_classes(num_classes)
        check_every_size(self)

    def _losses(self) -> list[SegmentationLoss]:
        return [loss for loss in self.losses if isinstance(loss, SegmentationLoss)]

    def features(self, images: Tensor) -> list[Tensor]:
        """The backbone's maps, fine to coarse.

        Args:
            images: (N, 3, H, W) RGB in [0, 1].
        """
        maps: list[Tensor] = self.backbone(self.normalize(images))
        return maps

    def predict(self, features: list[Tensor]) -> Tensor:
        """Logits (N, K, h, w), at the decoder's resolution.

        Args:
            features: what ``features`` returned.
        """
        logits: Tensor = self.decoder(features)
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K, h, w) of `images`, (N, 3, H, W) RGB in [0, 1]."""
        return self.predict(self.features(images))

    def loss(self, outputs: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """Training losses by name, scalars; their sum is what is minimised.

        Args:
            outputs: logits, (N, K, h, w).
            masks: (N, H, W) int64 in [0, K), 255 where void; a batch that is void all over has loss 0.
        """
        logits = resize_bilinear(outputs, (masks.shape[1], masks.shape[2]))
        return {loss.name: loss(logits, masks) for loss in self._losses()}

    def decode(self, outputs: Tensor, size: tuple[int, int]) -> Tensor:
        """The class of every pixel, (N, H, W) int64: the largest logit, the first of equal ones.

        Args:
            outputs: logits, (N, K, h, w).
            size: (H, W) of the images.
        """
        return resize_bilinear(outputs, size).argmax(1)

    def export_graph(self) -> list[DecodeNode]:
        """What the runtime does after ``forward``: bilinear resize to the images' size, the largest logit's class."""
        return [
            DecodeNode("resize_bilinear", ["logits", "images"], ["scores"]),
            DecodeNode("argmax", ["scores"], ["classes"]),
        ]
