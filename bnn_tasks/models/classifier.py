"""Image classifiers: one forward that serves loss, probabilities and export."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn_tasks.backbones import Backbone
from bnn_tasks.binary import tie_to_size, untied_layers
from bnn_tasks.models.classifier_heads import Head, LinearHead
from bnn_tasks.models.detector import IMAGENET_MEAN, IMAGENET_STD, DecodeNode, Normalize


class ImageClassifier(nn.Module):
    """Base class of the classifiers: one label an image. ``forward`` never changes meaning with ``training``.

    Args:
        num_classes: K >= 1; labels are 0 … K-1.
        mean: per channel, in [0, 1]; ImageNet's by default.
        std: per channel, > 0; ImageNet's by default.
        label_smoothing: share of the target spread over all classes, in [0, 1) (Szegedy et al., 2016).

    Attributes:
        num_classes: K.
        normalize: the model's first node.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        num_classes: int,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"Expected `num_classes` to be >= 1, but got {num_classes}.")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"Expected `label_smoothing` to be in [0, 1), but got {label_smoothing}.")
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing
        self.normalize = Normalize(mean, std)

    def _fix_size(self, input_size: tuple[int, int] | None) -> None:
        """Tie the layers whose scales have a value for every place to the size of the images."""
        if input_size is not None:
            tie_to_size(self, torch.zeros(1, len(self.normalize.mean), *input_size))
        if untied := untied_layers(self):
            raise ValueError(
                f"Expected `input_size` for a method whose scales have a value for every place, but got None; such layers: "
                f"{', '.join(untied[:3])}. Cure: input_size=(H, W) of the images, or method 'xnor_pp'."
            )

    def forward(self, images: Tensor) -> Tensor:
        """Logits.

        Args:
            images: (N, C, H, W) in [0, 1], C as many as `mean` has values: RGB by default.

        Returns:
            (N, K).
        """
        raise NotImplementedError

    def loss(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross entropy, mean over the batch; the sum of what is returned is minimised.

        Args:
            outputs: logits, (N, K).
            labels: (N,) int64 in [0, K).
        """
        return {"cross_entropy": F.cross_entropy(outputs.float(), labels, label_smoothing=self.label_smoothing)}

    def decode(self, outputs: Tensor) -> Tensor:
        """Probabilities, (N, K) float32, of logits `outputs`, (N, K)."""
        return torch.softmax(outputs.float(), dim=1)

    def export_graph(self) -> list[DecodeNode]:
        """What the runtime does after ``forward``: softmax; its result is ``probabilities``."""
        return [DecodeNode("softmax", ["logits"], ["probabilities"])]


class Classifier(ImageClassifier):
    """Normalisation, a backbone's last map, a head.

    Args:
        num_classes: K >= 1; labels are 0 … K-1.
        backbone: image -> feature maps, of which the last is read.
        head: (channels of the map, K) -> head.
        mean: per channel, in [0, 1]; ImageNet's by default.
        std: per channel, > 0; ImageNet's by default.
        label_smoothing: share of the target spread over all classes, in [0, 1) (Szegedy et al., 2016).
        input_size: (H, W) of every image, for methods whose scales have a value for every place (XNOR-Net++, cases 2 to 4);
            None takes images of any size.

    Raises:
        ValueError: an argument is out of range, or such a method is used without `input_size`.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: Backbone,
        head: Callable[[int, int], Head] = LinearHead,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        label_smoothing: float = 0.0,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(num_classes, mean, std, label_smoothing)
        self.backbone = backbone
        self.head = head(backbone.feature_info.channels()[-1], num_classes)
        self._fix_size(input_size)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of `images`, (N, C, H, W) in [0, 1]."""
        logits: Tensor = self.head(self.backbone(self.normalize(images))[-1])
        return logits
