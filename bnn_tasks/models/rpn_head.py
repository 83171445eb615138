"""The dense head of a region proposal network (Ren et al., Faster R-CNN, 2015), on a pyramid (Lin et al., FPN, 2017)."""

from collections.abc import Callable

from torch import Tensor, nn

from bnn_tasks.backbones import ReActUnit, Unit
from bnn_tasks.models.retinanet_head import Tower


class RPNHead(nn.Module):
    """A `Tower` of 3×3 units, then real 1×1 convolutions for objectness and boxes that all levels share.

    Args:
        channels: channels of the pyramid.
        levels: pyramid levels.
        anchors: anchors a position.
        depth: units before the outputs, >= 0; the paper has 1.
        unit: (in_channels, out_channels, stride) -> the 3×3 unit, real or binary.

    Raises:
        ValueError: `depth` is out of range.
    """

    def __init__(
        self,
        channels: int,
        levels: int,
        anchors: int,
        depth: int = 1,
        unit: Callable[[int, int, int], Unit] = ReActUnit,
    ) -> None:
        super().__init__()
        self.tower = Tower(channels, depth, levels, unit)
        self.objectness = nn.Conv2d(channels, anchors, 1)
        self.box_deltas = nn.Conv2d(channels, anchors * 4, 1)
        for convolution in (self.objectness, self.box_deltas):
            nn.init.normal_(convolution.weight, std=0.01)  # Ren et al., 2015, §3.1.3
            assert convolution.bias is not None
            nn.init.zeros_(convolution.bias)

    def forward(self, pyramid: list[Tensor]) -> dict[str, list[Tensor]]:
        """Raw outputs of every level.

        Args:
            pyramid: (N, channels, h, w) a level.

        Returns:
            ``objectness``: logits (N, A, h, w) a level; ``rpn_deltas``: (N, A·4, h, w), channel a·4 + j.
        """
        maps = self.tower(pyramid)
        return {
            "objectness": [self.objectness(x) for x in maps],
            "rpn_deltas": [self.box_deltas(x) for x in maps],
        }
