"""RetinaNet's two towers (Lin et al., Focal Loss, 2017), whose levels share convolutions alone."""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bnn_tasks.backbones import ReActUnit, Unit

PRIOR = 0.01  # Lin et al., 2017, §4.1: the score every anchor starts with


class Tower(nn.Module):
    """A stack of 3×3 units whose main convolutions (``conv``) all levels share, while each level has the rest of its own.

    Levels differ in statistics; one shared BatchNorm would be trained on each level's own and evaluated with their
    mixture (Chen et al., AQD, 2021, multi-level BatchNorm). Slopes and paths are a level's own too, such as the 3×3 filters
    of `LocalUnit`'s path.

    Args:
        channels: channels of the pyramid.
        depth: units in the stack, >= 0.
        levels: pyramid levels.
        unit: (in_channels, out_channels, stride) -> the 3×3 unit, real or binary.

    Raises:
        ValueError: `depth` is out of range.
    """

    def __init__(self, channels: int, depth: int, levels: int, unit: Callable[[int, int, int], Unit]) -> None:
        super().__init__()
        if depth < 0:
            raise ValueError(f"Expected `depth` to be >= 0, but got {depth}.")
        first = nn.Sequential(*(unit(channels, channels, 1) for _ in range(depth)))
        self.levels = nn.ModuleList([first])
        for _ in range(levels - 1):
            other = copy.deepcopy(first)
            for own, shared in zip(other, first, strict=True):
                own.conv = shared.conv
            self.levels.append(other)

    def forward(self, pyramid: list[Tensor]) -> list[Tensor]:
        """Apply to every level, (N, channels, h, w)."""
        return [tower(x) for tower, x in zip(self.levels, pyramid, strict=True)]


class RetinaNetHead(nn.Module):
    """Classification and box towers, each ending in a real 3×3 output convolution.

    Args:
        channels: channels of the pyramid.
        levels: pyramid levels.
        anchors: anchors a position.
        num_classes: K >= 1.
        depth: units in each tower, >= 0; the paper has 4.
        unit: (in_channels, out_channels, stride) -> the towers' 3×3 unit, real or binary.

    Raises:
        ValueError: `depth` is out of range.
    """

    def __init__(
        self,
        channels: int,
        levels: int,
        anchors: int,
        num_classes: int,
        depth: int = 4,
        unit: Callable[[int, int, int], Unit] = ReActUnit,
    ) -> None:
        super().__init__()
        self.cls_tower = Tower(channels, depth, levels, unit)
        self.box_tower = Tower(channels, depth, levels, unit)
        self.cls_logits = nn.Conv2d(channels, anchors * num_classes, 3, padding=1)
        self.box_deltas = nn.Conv2d(channels, anchors * 4, 3, padding=1)
        for convolution in (self.cls_logits, self.box_deltas):
            nn.init.normal_(convolution.weight, std=0.01)  # Lin et al., 2017, §4.1
            assert convolution.bias is not None
            nn.init.zeros_(convolution.bias)
        with torch.no_grad():
            self.cls_logits.bias.fill_(-math.log((1 - PRIOR) / PRIOR))  # type: ignore[union-attr]

    def forward(self, pyramid: list[Tensor]) -> dict[str, list[Tensor]]:
        """Raw outputs of every level.

        Args:
            pyramid: (N, channels, h, w) a level.

        Returns:
            ``cls_logits``: (N, A·K, h, w) a level, channel a·K + k; ``box_deltas``: (N, A·4, h, w), channel a·4 + j.
        """
        return {
            "cls_logits": [self.cls_logits(x) for x in self.cls_tower(pyramid)],
            "box_deltas": [self.box_deltas(x) for x in self.box_tower(pyramid)],
        }
