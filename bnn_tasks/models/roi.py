"""Features of regions, from the pyramid's level that fits their size (He et al., Mask R-CNN, 2017; Lin et al., FPN, 2017)."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

from bnn_tasks.models.detector import DecodeNode

CANONICAL_STRIDE = 16  # of P4, at which Lin et al., 2017, eq. 1 read a region of the canonical size
# Detectron's: a side that is a power of two of the canonical one stays on the coarser of its two levels.
EPSILON = 1e-6


class PyramidRoIAlign:
    """RoIAlign without rounding of coordinates, on one level a region.

    Level k of the strides 2^k·s_0 is floor(log2(sqrt(area) / c) + 1e-6), c = canonical_size · s_0 / 16, within the levels
    (Lin et al., 2017, eq. 1). What is sampled is aligned: a position's centre is at half a stride.

    Args:
        strides: pixels between positions, one a level, each twice the one before.
        output_size: s, positions a side of a region's features; 7 is the paper's.
        sampling_ratio: samples a side of every position, averaged; 2 is Detectron's.
        canonical_size: side in pixels of a region that is read at stride 16. The paper has 224 for images of 800 px; the
            default suits images of about 400, whose coarse levels would else be read by no region.

    Raises:
        ValueError: an argument is out of range, or the strides do not double.
    """

    def __init__(
        self, strides: Sequence[int], output_size: int = 7, sampling_ratio: int = 2, canonical_size: float = 112.0
    ) -> None:
        if min(output_size, sampling_ratio) < 1 or not 0 < canonical_size < math.inf:
            raise ValueError(
                "Expected `output_size` and `sampling_ratio` >= 1 and `canonical_size` > 0, but got "
                f"{output_size}, {sampling_ratio}, {canonical_size}."
            )
        if not strides or any(b != 2 * a for a, b in itertools.pairwise(strides)):
            raise ValueError(
                f"Expected `strides` that double from level to level, but got {list(strides)}. "
                "Cure: consecutive `out_indices` and `output_stride: 32` of the backbone."
            )
        self.strides, self.output_size, self.sampling_ratio = list(strides), output_size, sampling_ratio
        self.finest_size = canonical_size * strides[0] / CANONICAL_STRIDE

    def levels(self, boxes: Tensor) -> Tensor:
        """The level of every region, int64.

        Args:
            boxes: (M, 4) xyxy; one without area is read from the finest level.
        """
        side = torch.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
        level = torch.floor(torch.log2(side / self.finest_size) + EPSILON)
        return level.clamp(0, len(self.strides) - 1).long()

    def __call__(self, features: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """Features of regions as maps of one row a region, on which a fully-connected layer is a 1×1 convolution.

        Args:
            features: (N, C, h, w) a level, one for each stride.
            boxes: (N, R, 4) xyxy in pixels of the input.

        Returns:
            (N, s·s·C, R, 1) of the features' type, channel (y·s + x)·C + c; zeros for a box without area.
        """
        images, count = boxes.shape[:2]
        flat = boxes.reshape(-1, 4).float()
        index = torch.arange(images, device=boxes.device).repeat_interleave(count)
        regions = torch.cat([index[:, None].to(flat), flat], dim=1)
        levels, solid = self.levels(flat), (flat[:, 2:] > flat[:, :2]).all(dim=1)
        channels, side = features[0].shape[1], self.output_size
        pooled = torch.zeros(len(flat), channels, side, side, device=boxes.device)
        for level, (x, stride) in enumerate(zip(features, self.strides, strict=True)):
            of_level = torch.nonzero((levels == level) & solid).flatten()
            values = roi_align(x.float(), regions[of_level], side, 1 / stride, self.sampling_ratio, aligned=True)
            pooled = pooled.index_put((of_level,), values)
        pooled = pooled.to(features[0].dtype)
        return pooled.reshape(images, count, channels, side, side).permute(0, 3, 4, 2, 1).reshape(images, -1, count, 1)

    def node(self, inputs: list[str], output: str) -> DecodeNode:
        """The same as an operation of the runtime.

        Args:
            inputs: names of the regions and of every level's features.
            output: name of the regions' features.
        """
        attrs = {
            "strides": self.strides,
            "output_size": self.output_size,
            "sampling_ratio": self.sampling_ratio,
            "canonical_level": 0,
            "canonical_size": self.finest_size,
        }
        return DecodeNode("roi_align", inputs, [output], attrs)
