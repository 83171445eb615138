"""Mosaic: four images on one canvas (Bochkovskiy et al., YOLOv4, 2020)."""

from collections.abc import Sequence

import numpy as np
import torch

from bnn_tasks.data.detection.augment import Augment
from bnn_tasks.data.detection.view import DetectionAugment, View
from bnn_tasks.data.module import check_range
from bnn_tasks.runtime.images import Resize, Size

TILES = 4


class Mosaic(DetectionAugment):
    """Shows parts of four images around a random crossing point, each resampled once.

    A tile shows its image as large as ``tile`` would on the whole canvas, so that a magnification of 0.5 shows about a
    whole image on a quarter of the canvas; tiles are varied independently of each other. Boxes are cut at the tile's
    edges; those stay that ``View`` says. BatchNorm so sees four images for each canvas (§3.4 of the paper).

    Args:
        tile: varies each of the four images; ``Augment(scale=(0.4, 1))`` shows them from small to uncut.
        single: varies the image of every other sample.
        probability: of a mosaic, for each sample; 0..1.
        margin: least share of the canvas's sides on either side of the crossing; 0..0.5. 0.2 is that of the paper's own
            program, darknet.

    Raises:
        ValueError: a value out of its range.
    """

    def __init__(self, tile: Augment, single: Augment, probability: float = 0.5, margin: float = 0.2) -> None:
        check_range("probability", probability, 0, 1)
        check_range("margin", margin, 0, 0.5)
        self.tile = tile
        self.single = single
        self.probability = probability
        self.margin = margin

    def pictures(self) -> int:
        """Return 4 with the probability of a mosaic, otherwise 1."""
        return TILES if torch.rand(()).item() < self.probability else 1

    def compose(self, pictures: Sequence[np.ndarray], resize: Resize, size: Size) -> tuple[np.ndarray, list[View]]:
        """Draw four pictures, upper left, upper right, lower left, lower right; or one.

        Args:
            pictures: four or one, (height, width, 3) uint8 RGB each.
            resize: whose rule gives the windows that are varied.
            size: (height, width) of the canvas, each at least 2.

        Returns:
            The (H, W, 3) uint8 canvas, and a view a picture.

        Raises:
            ValueError: the canvas cannot be cut into four.
        """
        if len(pictures) == 1:
            return self.single.compose(pictures, resize, size)
        if min(size) < 2:
            raise ValueError(
                f"Expected `sizes` of at least 2x2 pixels for a mosaic, but got {size}. Cure: larger ones."
            )
        y, x = (_cut(side, self.margin, random) for side, random in zip(size, torch.rand(2).tolist()))
        height, width = size
        parts = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
        canvas = np.empty((height, width, 3), np.uint8)
        views = []
        for image, (x0, y0, x1, y1) in zip(pictures, parts, strict=True):
            canvas[y0:y1, x0:x1], placed = self.tile.show(image, resize, size, (y1 - y0, x1 - x0))
            placement = placed._replace(offset_x=placed.offset_x + x0, offset_y=placed.offset_y + y0)
            views.append(View(placement, (x0, y0, x1, y1), self.tile.min_visible))
        return canvas, views


def _cut(side: int, margin: float, random: float) -> int:
    return min(max(round(side * (margin + random * (1 - 2 * margin))), 1), side - 1)
