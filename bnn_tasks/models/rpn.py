"""The loss of a region proposal network (Ren et al., Faster R-CNN, 2015, §3.1.2 and §3.1.3)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from bnn_tasks.models.anchors import BACKGROUND, in_crowd, match
from bnn_tasks.models.box_losses import BoxLoss, SmoothL1BoxLoss
from bnn_tasks.models.detector import BoxTarget

RPN_WEIGHTS = (1.0, 1.0, 1.0, 1.0)  # of the deltas; Ren et al. scale none


def sample(positive: Tensor, negative: Tensor, count: int, share: float) -> tuple[Tensor, Tensor]:
    """Draw positives and negatives at random, without repetition.

    Args:
        positive: (M,) bool.
        negative: (M,) bool.
        count: most that are drawn of both together; what positives leave free, negatives fill.
        share: most that positives have of `count`, in [0, 1].

    Returns:
        Indices of the positives and of the negatives drawn.
    """
    found = _draw(positive, int(count * share))
    return found, _draw(negative, count - len(found))


def _draw(flags: Tensor, most: int) -> Tensor:
    index = torch.nonzero(flags).flatten()
    return index[torch.randperm(len(index), device=index.device)[:most]]


class RPNLoss:
    """Cross-entropy of sampled anchors and a box loss of the positives among them, both per sampled anchor.

    An anchor is positive from IoU `foreground` with an object on, or as the one that an object overlaps most; negative
    below `background` with every object; nothing in between, and nothing where its best object is to be ignored or where it
    would be negative, but has a share of at least `background` of its area in a crowd.

    Args:
        foreground: IoU in (0, 1]; the paper's 0.7.
        background: IoU in [0, foreground]; the paper's 0.3.
        count: anchors drawn an image; the paper's 256.
        positive_share: most of them that are positive, in (0, 1]; the paper's 1/2.
        box: of the positives' boxes.
        box_weight: of the box loss; the paper's 10, with its own normalisers, is about 1 with these.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        foreground: float = 0.7,
        background: float = 0.3,
        count: int = 256,
        positive_share: float = 0.5,
        box: BoxLoss | None = None,
        box_weight: float = 1.0,
    ) -> None:
        if not 0 <= background <= foreground <= 1:
            raise ValueError(f"Expected 0 <= `background` <= `foreground` <= 1, but got {background}, {foreground}.")
        if count < 1 or not 0 < positive_share <= 1:
            raise ValueError(
                f"Expected `count` >= 1 and `positive_share` in (0, 1], but got {count} and {positive_share}."
            )
        self.foreground, self.background = foreground, background
        self.count, self.positive_share = count, positive_share
        self.box = SmoothL1BoxLoss() if box is None else box
        self.box_weight = box_weight

    def __call__(
        self, anchors: Tensor, logits: Tensor, deltas: Tensor, targets: Sequence[BoxTarget]
    ) -> dict[str, Tensor]:
        """``rpn_cls`` and ``rpn_box``, scalars.

        Args:
            anchors: (M, 4) xyxy.
            logits: (N, M) float32, of an object.
            deltas: (N, M, 4) float32.
            targets: ground truth, one an image.
        """
        images, rows, wanted, boxes = [], [], [], []
        for index, target in enumerate(targets):
            positive, negative, assigned = self._assign(anchors, target)
            found, empty = sample(positive, negative, self.count, self.positive_share)
            rows.append(torch.cat([found, empty]))
            images.append(torch.full_like(rows[-1], index))
            wanted.append(torch.cat([torch.ones_like(found), torch.zeros_like(empty)]))
            boxes.append(target.boxes[assigned[found]])
        image, row, is_object = torch.cat(images), torch.cat(rows), torch.cat(wanted).bool()
        drawn = max(len(row), 1)
        cls = F.binary_cross_entropy_with_logits(logits[image, row], is_object.float(), reduction="sum")
        image, row = image[is_object], row[is_object]
        box = self.box(deltas[image, row], anchors[row], torch.cat(boxes), RPN_WEIGHTS)
        return {"rpn_cls": cls / drawn, "rpn_box": self.box_weight * box / drawn}

    def _assign(self, anchors: Tensor, target: BoxTarget) -> tuple[Tensor, Tensor, Tensor]:
        """Which anchors are positive, which negative, and every anchor's object."""
        if len(target.boxes) == 0:
            nothing = torch.zeros(len(anchors), dtype=torch.bool, device=anchors.device)
            return nothing, ~nothing, nothing.long()
        assigned = match(box_iou(target.boxes, anchors), self.foreground, self.background)
        found = assigned > BACKGROUND
        negative = (assigned == BACKGROUND) & ~in_crowd(anchors, target.boxes[target.crowd], self.background)
        return found & ~target.ignore[assigned.clamp(min=0)], negative, assigned
