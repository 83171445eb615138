"""Anchors, their matching to objects, and the coding of boxes (Ren et al., Faster R-CNN, 2015; Lin et al., 2017)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

# exp() of a size delta is clipped here so that no untrained net makes an endless box (Girshick et al., Detectron).
DELTA_CLIP = math.log(1000 / 16)
BACKGROUND, BETWEEN = -1, -2


def around_positions(base: Tensor, stride: tuple[float, float], x: Tensor) -> Tensor:
    """Boxes around the centre of every position of a map: base[a] moved to ((x + ½)·sx, (y + ½)·sy).

    Args:
        base: (A, 4) xyxy around 0, pixels.
        stride: (sy, sx), pixels between positions.
        x: (..., h, w); only the size counts.

    Returns:
        (h·w·A, 4) xyxy pixels, in the order y, x, box; float32, or float64 where ``base`` is.
    """
    height, width = x.shape[-2:]
    ys = (torch.arange(height, device=x.device) + 0.5) * stride[0]
    xs = (torch.arange(width, device=x.device) + 0.5) * stride[1]
    cy, cx = torch.meshgrid(ys, xs, indexing="ij")
    centres = torch.stack([cx, cy, cx, cy], dim=-1)
    return (centres[:, :, None] + base).reshape(-1, 4)


class Anchors(nn.Module):
    """Boxes of fixed shapes around every position of every level.

    A position (x, y) of a level with stride s is centred at ((x + ½)·s, (y + ½)·s).

    Args:
        strides: pixels between positions, one a level.
        sizes: square roots of the anchors' areas in pixels, one list a level; every level has as many.
        ratios: height / width.

    Raises:
        ValueError: the lists disagree in length, or a value is not positive.
    """

    base: Tensor

    def __init__(
        self, strides: Sequence[int], sizes: Sequence[Sequence[float]], ratios: Sequence[float] = (0.5, 1.0, 2.0)
    ) -> None:
        super().__init__()
        if len(strides) != len(sizes) or len({len(level) for level in sizes}) != 1 or not sizes[0] or not ratios:
            raise ValueError(
                f"Expected one list of anchor sizes a level, equally long, for {len(strides)} levels, but got {sizes}."
            )
        if not all(0 < x < math.inf for x in (*strides, *(size for level in sizes for size in level), *ratios)):
            raise ValueError(f"Expected positive strides, sizes and ratios, but got {strides}, {sizes}, {ratios}.")
        self.strides = list(strides)
        halves = [
            [(size / math.sqrt(ratio) / 2, size * math.sqrt(ratio) / 2) for size in level for ratio in ratios]
            for level in sizes
        ]
        base = [[(-x, -y, x, y) for x, y in level] for level in halves]
        self.register_buffer("base", torch.tensor(base))

    @property
    def per_position(self) -> int:
        """A: anchors at one position of one level."""
        return self.base.shape[1]

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Anchors of every level.

        Args:
            maps: one tensor (..., h, w) a level; only the size counts.

        Returns:
            (h·w·A, 4) a level, xyxy pixels, in the order y, x, anchor.
        """
        return [
            around_positions(base, (stride, stride), x)
            for base, stride, x in zip(self.base, self.strides, maps, strict=True)
        ]


Weights = tuple[float, float, float, float]


def rows(maps: Sequence[Tensor], columns: int) -> list[Tensor]:
    """Dense maps as one row an anchor, in the anchors' order.

    Args:
        maps: (N, A·columns, h, w) a level, channel a·columns + j.
        columns: values an anchor.

    Returns:
        (N, h·w·A, columns) a level.
    """
    return [x.permute(0, 2, 3, 1).reshape(len(x), -1, columns) for x in maps]


def encode(boxes: Tensor, anchors: Tensor, weights: Weights = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """(Δx/w, Δy/h, log(w'/w), log(h'/h)) of boxes against anchors (Ren et al., 2015, eq. 2), times `weights`.

    Args:
        boxes: (M, 4) xyxy.
        anchors: (M, 4) xyxy.
        weights: one a delta, > 0; they bring the deltas of one stage to a common spread.
    """
    size, centre = anchors[:, 2:] - anchors[:, :2], (anchors[:, 2:] + anchors[:, :2]) / 2
    box_size, box_centre = boxes[:, 2:] - boxes[:, :2], (boxes[:, 2:] + boxes[:, :2]) / 2
    deltas = torch.cat([(box_centre - centre) / size, torch.log(box_size / size)], dim=1)
    return deltas * deltas.new_tensor(weights)


def decode(deltas: Tensor, anchors: Tensor, weights: Weights = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """The inverse of `encode`, with size deltas clipped at log(1000/16).

    Args:
        deltas: (M, 4).
        anchors: (M, 4) xyxy.
        weights: as `encode` took them.
    """
    size, centre = anchors[:, 2:] - anchors[:, :2], (anchors[:, 2:] + anchors[:, :2]) / 2
    deltas = deltas / deltas.new_tensor(weights)
    box_centre = deltas[:, :2] * size + centre
    half = torch.exp(deltas[:, 2:].clamp(max=DELTA_CLIP)) * size / 2
    return torch.cat([box_centre - half, box_centre + half], dim=1)


def match(iou: Tensor, foreground: float, background: float) -> Tensor:
    """Assign anchors to objects.

    An anchor takes the object it overlaps most if IoU >= `foreground`; is BACKGROUND below `background`, BETWEEN
    otherwise. Every object also keeps the anchors that overlap it most of all anchors, however little (Ren et al., 2015).

    Args:
        iou: (G, M), objects × anchors, G >= 1.
        foreground: in [0, 1].
        background: in [0, foreground].

    Returns:
        (M,) index of the object, or BACKGROUND, or BETWEEN.
    """
    best_iou, best = iou.max(dim=0)
    assigned = best.clone()
    assigned[best_iou < foreground] = BETWEEN
    assigned[best_iou < background] = BACKGROUND
    of_object = iou.max(dim=1, keepdim=True).values
    kept = ((iou == of_object) & (of_object > 0)).any(dim=0)
    assigned[kept] = best[kept]
    return assigned


def in_crowd(boxes: Tensor, crowds: Tensor, share: float) -> Tensor:
    """Which boxes have at least a share of their own area in a crowd, as COCO judges detections there.

    A crowd's box is around many objects, so that the box of one of them has a small IoU with it.

    Args:
        boxes: (M, 4) xyxy.
        crowds: (C, 4) xyxy, C >= 0.
        share: in [0, 1].

    Returns:
        (M,) bool.
    """
    low, high = torch.maximum(boxes[:, None, :2], crowds[:, :2]), torch.minimum(boxes[:, None, 2:], crowds[:, 2:])
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1, keepdim=True)
    return ((high - low).clamp(min=0).prod(dim=2) >= share * area).any(dim=1)
