"""Imitation of the teacher's scores and boxes, anchor by anchor."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from bnn_tasks.models import Detector, RawOutputs, RetinaNet
from bnn_tasks.models.anchors import decode
from bnn_tasks.tasks.distillation.distillation import ImitationTerm
from bnn_tasks.tasks.distillation.teacher import TeacherView


class ResponseImitation(ImitationTerm):
    """The teacher's scores and boxes as soft targets of every anchor.

    With p = σ(student's logit), q = σ(teacher's) and w_i = max_k q_ik where that exceeds `least`, else 0,

        weight · ( Σ |p - q|² · BCE(p, q) + box_weight · Σ_i w_i · (1 - GIoU(b_i, b̃_i)) ) / max(Σ_i w_i, 1).

    The first is the quality focal loss (Li et al., Generalized Focal Loss, 2020, β = 2) with the teacher's score as quality.

    Args:
        weight: >= 0.
        box_weight: >= 0; 2 as in `RetinaNet`.
        least: teacher score below which an anchor's box teaches nothing, in [0, 1).
    """

    name = "imitate_response"
    by_class = True

    def __init__(self, weight: float = 1.0, box_weight: float = 2.0, least: float = 0.1) -> None:
        super().__init__()
        if weight < 0 or box_weight < 0 or not 0 <= least < 1:
            raise ValueError(
                "Expected `weight` and `box_weight` >= 0 and `least` in [0, 1), but got "
                f"{weight}, {box_weight}, {least}."
            )
        self.weight, self.box_weight, self.least = weight, box_weight, least

    def bind(self, model: Detector) -> None:
        """Refuse another student than a RetinaNet, before anything is trained.

        Raises:
            ValueError: the student is no RetinaNet.
        """
        if not isinstance(model, RetinaNet):
            raise ValueError(
                f"Expected the student of ResponseImitation to be a RetinaNet, but got a {type(model).__name__}. "
                "Cure: PyramidImitation or ProposalImitation."
            )

    def forward(
        self, detector: Detector, features: list[Tensor], outputs: RawOutputs, size: tuple[int, int], view: TeacherView
    ) -> Tensor:
        """See the class.

        Raises:
            ValueError: the teacher's outputs are not of the student's anchors and classes.
        """
        assert isinstance(detector, RetinaNet)
        mine = [tuple(x.shape) for x in outputs["cls_logits"]]
        theirs = [] if view.outputs is None else [tuple(x.shape) for x in view.outputs.get("cls_logits", [])]
        if view.outputs is None or mine != theirs:
            raise ValueError(
                f"Expected a teacher with the student's anchors and classes, of logits {mine}, but got {theirs}. "
                "Cure: the student's real twin as CheckpointTeacher."
            )
        logits, deltas = detector.rows(outputs)
        teacher_logits, teacher_deltas = detector.rows(view.outputs)
        quality = torch.sigmoid(teacher_logits)
        distance = (torch.sigmoid(logits) - quality).square()
        scores = (distance * F.binary_cross_entropy_with_logits(logits, quality, reduction="none")).sum()
        worth = quality.amax(dim=2)
        image, row = torch.nonzero(worth > self.least, as_tuple=True)
        anchors = torch.cat(detector.anchors(outputs["cls_logits"]))[row]
        mine_boxes, their_boxes = decode(deltas[image, row], anchors), decode(teacher_deltas[image, row], anchors)
        boxes = (worth[image, row] * generalized_box_iou_loss(mine_boxes, their_boxes)).sum()
        return self.weight * (scores + self.box_weight * boxes) / worth[image, row].sum().clamp(min=1)
