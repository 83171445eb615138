"""The backbone contract, timm's: an image in, a list of feature maps out, described by ``feature_info``."""

from timm.models import FeatureInfo
from torch import Tensor, nn


class Backbone(nn.Module):
    """Base class of all backbones.

    Attributes:
        feature_info: ``feature_info.channels()`` and ``feature_info.reduction()`` list the channels and strides of the
            maps that ``forward`` returns. A map of reduction r has ⌈H/r⌉ × ⌈W/r⌉ pixels, odd input sizes included.
    """

    feature_info: FeatureInfo

    def forward(self, x: Tensor) -> list[Tensor]:
        """Extract features.

        Args:
            x: (N, C, H, W), normalised; C is 3 for RGB.

        Returns:
            One map (N, channels[i], ⌈H/reduction[i]⌉, ⌈W/reduction[i]⌉) per level.
        """
        raise NotImplementedError
