"""SSD's default boxes and their matching to objects (Liu et al., SSD, 2016, §2.2)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bnn_tasks.models.anchors import BACKGROUND, around_positions

# Sides over the input's at 300 px: 30 px on conv4_3, then 0.2 … 0.9 in steps of 17 hundredths (the authors' VOC configuration;
# 0.2 + 0.7·k/4 in the paper), and one more for the last map's second square.
SCALES = (0.1, 0.2, 0.37, 0.54, 0.71, 0.88, 1.05)
RATIOS = ((2.0,), (2.0, 3.0), (2.0, 3.0), (2.0, 3.0), (2.0,), (2.0,))


class DefaultBoxes(nn.Module):
    """Boxes of fixed shapes around every position of every map, as many as that map has ratios for.

    Map k has squares of side s_k and √(s_k·s_{k+1}), and for every ratio a a box s_k·√a wide and s_k/√a high and its
    transpose. Position (x, y) of a map with stride (sy, sx) is centred at ((x + ½)·sx, (y + ½)·sy). Boxes reach over the
    image's border: neither the paper nor its authors' configuration clips them.

    Args:
        strides: (sy, sx), pixels between positions, one pair a map.
        sides: s_k in pixels, one a map and one more.
        ratios: width / height > 1, one list a map.

    Raises:
        ValueError: the lists disagree in length, or a value is not positive.
    """

    def __init__(
        self, strides: Sequence[tuple[float, float]], sides: Sequence[float], ratios: Sequence[Sequence[float]] = RATIOS
    ) -> None:
        super().__init__()
        if not strides or len(ratios) != len(strides) or len(sides) != len(strides) + 1:
            raise ValueError(
                f"Expected one list of ratios a map and one side more than maps, but got {len(ratios)} lists and "
                f"{len(sides)} sides for {len(strides)} maps."
            )
        values = (*sides, *(step for pair in strides for step in pair), *(a for level in ratios for a in level))
        if not all(0 < x < math.inf for x in values):
            raise ValueError(f"Expected positive strides, sides and ratios, but got {strides}, {sides}, {ratios}.")
        self.strides = [(float(sy), float(sx)) for sy, sx in strides]
        self.per_position: list[int] = []
        for level, aspects in enumerate(ratios):
            side, second = sides[level], math.sqrt(sides[level] * sides[level + 1])
            shapes = [(side, side), (second, second)]
            for aspect in aspects:
                root = math.sqrt(aspect)
                shapes += [(side * root, side / root), (side / root, side * root)]
            base = torch.tensor([(-w / 2, -h / 2, w / 2, h / 2) for w, h in shapes])
            self.register_buffer(f"base{level}", base)
            self.per_position.append(len(shapes))

    def base(self, level: int) -> Tensor:
        """(A, 4) xyxy around 0, the boxes of one map."""
        return self.get_buffer(f"base{level}")

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Default boxes of every map.

        Args:
            maps: one tensor (..., h, w) a map; only the size counts.

        Returns:
            (h·w·A, 4) a map, xyxy pixels, in the order y, x, box.
        """
        return [
            around_positions(self.base(level), stride, x)
            for level, (stride, x) in enumerate(zip(self.strides, maps, strict=True))
        ]


def match_default_boxes(iou: Tensor, ignore: Tensor, threshold: float) -> Tensor:
    """Assign default boxes to objects: MultiBox's matching, and all boxes with a high overlap besides (§2.2).

    Each object gets a default box of its own: the pair with the largest IoU of all first, then the largest among what is
    left. Any other box belongs to the object that it overlaps most, if IoU >= `threshold`. An object that is to be ignored
    gets its own box after all others have theirs.

    Args:
        iou: (G, M), objects × default boxes.
        ignore: (G,) bool.
        threshold: in [0, 1]; the paper's 0.5.

    Returns:
        (M,) index of the object, or BACKGROUND.
    """
    assigned = iou.new_full((iou.shape[1],), BACKGROUND, dtype=torch.long)
    if len(iou) == 0:
        return assigned
    best, owner = iou.max(dim=0)
    assigned = torch.where(best >= threshold, owner, assigned)
    free = iou.clone()
    for group in (~ignore, ignore):
        for _ in range(int(group.sum())):
            rows = torch.nonzero(group).flatten()
            overlap, place = free[rows].flatten().max(dim=0)
            if overlap <= 0:  # what is left overlaps no free box
                break
            row, column = rows[place // free.shape[1]], place % free.shape[1]
            assigned[column] = row
            free[row] = free[:, column] = 0
    return assigned
