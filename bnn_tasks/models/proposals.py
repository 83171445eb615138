"""From a region proposal network's outputs to regions (Ren et al., Faster R-CNN, 2015; Lin et al., FPN, 2017)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image, nms

from bnn_tasks.models.anchors import DELTA_CLIP, decode
from bnn_tasks.models.detector import DecodeNode
from bnn_tasks.models.rpn import RPN_WEIGHTS


@dataclass(frozen=True)
class Candidates:
    """The best anchors of every level of one image, before any is suppressed: level by level, by falling logit.

    Attributes:
        boxes: (M, 4) float32 xyxy, decoded and clipped to the image.
        logits: (M,) float32, of an object.
        levels: (M,) int64.
    """

    boxes: Tensor
    logits: Tensor
    levels: Tensor


class Proposals:
    """Chooses a fixed number of regions an image, so that shapes depend on no value.

    Of every level the `top_k` anchors with the highest logits are decoded and clipped to the image; boxes with a side below
    `min_size` go, then those that overlap a better one of their level; the first `count` of all levels by logit stay.

    Args:
        top_k: candidates a level, >= 1; the paper of the pyramid has 1000 for images of 800 px.
        nms_threshold: of two candidates of one level with a higher IoU the weaker is dropped, in [0, 1]; the paper's 0.7.
        min_size: pixels, >= 0; no object is smaller than a pixel.
        count: R >= 1, regions an image; Ren et al. test with 300.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, top_k: int = 1000, nms_threshold: float = 0.7, min_size: float = 1.0, count: int = 300) -> None:
        if min(top_k, count) < 1 or not 0 <= nms_threshold <= 1 or not min_size >= 0:
            raise ValueError(
                "Expected `top_k` and `count` >= 1, `nms_threshold` in [0, 1] and `min_size` >= 0, but got "
                f"{top_k}, {count}, {nms_threshold}, {min_size}."
            )
        self.top_k, self.nms_threshold, self.min_size, self.count = top_k, nms_threshold, min_size, count

    def candidates(
        self, anchors: Sequence[Tensor], logits: Sequence[Tensor], deltas: Sequence[Tensor], size: tuple[int, int]
    ) -> Candidates:
        """Candidates of one image.

        Args:
            anchors: (M_l, 4) xyxy a level.
            logits: (M_l,) float32 a level.
            deltas: (M_l, 4) float32 a level.
            size: (H, W) of the image.
        """
        boxes, best, levels = [], [], []
        for level, (level_anchors, level_logits, level_deltas) in enumerate(zip(anchors, logits, deltas, strict=True)):
            values, order = torch.sort(level_logits, descending=True, stable=True)
            order = order[: self.top_k]
            decoded = decode(level_deltas[order], level_anchors[order], RPN_WEIGHTS)
            boxes.append(clip_boxes_to_image(decoded, size))
            best.append(values[: self.top_k])
            levels.append(torch.full_like(order, level))
        return Candidates(torch.cat(boxes), torch.cat(best), torch.cat(levels))

    def choose(self, candidates: Candidates) -> Tensor:
        """Regions of one image, (R, 4) xyxy by falling logit; boxes of zeros fill up where there are fewer.

        Args:
            candidates: of that image.
        """
        boxes = candidates.boxes
        large = ((boxes[:, 2:] - boxes[:, :2]) >= self.min_size).all(dim=1)
        kept = []
        for level in candidates.levels.unique():
            index = torch.nonzero(large & (candidates.levels == level)).flatten()
            kept.append(index[nms(boxes[index], candidates.logits[index], self.nms_threshold)])
        chosen = torch.cat(kept)
        order = torch.sort(candidates.logits[chosen], descending=True, stable=True).indices[: self.count]
        regions = boxes.new_zeros(self.count, 4)
        regions[: len(order)] = boxes[chosen[order]]
        return regions

    def node(self, inputs: list[str], output: str) -> DecodeNode:
        """The same as an operation of the runtime.

        Args:
            inputs: names of anchors, logits of every level, deltas of every level.
            output: name of the regions.
        """
        attrs = {
            "weights": list(RPN_WEIGHTS),
            "clip": DELTA_CLIP,
            "top_k": self.top_k,
            "iou_threshold": self.nms_threshold,
            "min_size": self.min_size,
            "max_proposals": self.count,
        }
        return DecodeNode("proposals", inputs, [output], attrs)
