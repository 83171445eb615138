"""The auxiliary loss that puts a teacher and the terms of imitation together."""

from torch import Tensor

from bnn_tasks.models.segmenter import Segmenter
from bnn_tasks.tasks.distillation.imitation import Imitation, Term
from bnn_tasks.tasks.segmentation_distillation.auxiliary import SegmentationAuxiliaryLoss
from bnn_tasks.tasks.segmentation_distillation.teacher import SegmenterTeacher, SegmenterView


class SegmentationImitationTerm(Term):
    """Base class of the terms of a segmenter."""

    def bind(self, model: Segmenter) -> None:
        """See `Term`."""

    def forward(self, features: list[Tensor], outputs: Tensor, masks: Tensor, view: SegmenterView) -> Tensor:
        """The term's loss, a scalar, its weight included.

        Args:
            features: of the student's backbone, (N, C, h, w) each, fine to coarse.
            outputs: the student's logits, (N, K, h, w).
            masks: (N, H, W) int64 in [0, K), 255 where void.
            view: what the teacher sees in the same images.
        """
        raise NotImplementedError


class SegmentationDistillation(Imitation[SegmenterTeacher], SegmentationAuxiliaryLoss):
    """Imitate a real-valued segmenter; see `Imitation`.

    Args:
        teacher: what is imitated.
        terms: how; at least one.
        until: share of the run after which imitation ends, in (0, 1]; 1 is never.

    Raises:
        ValueError: no terms, two of one name, or `until` is out of range.
    """

    # Written out for its types, by which a config's teacher and terms are looked up.
    def __init__(self, teacher: SegmenterTeacher, terms: list[SegmentationImitationTerm], until: float = 1.0) -> None:
        super().__init__(teacher, terms, until)

    def forward(
        self,
        segmenter: Segmenter,
        images: Tensor,
        features: list[Tensor],
        outputs: Tensor,
        masks: Tensor,
        progress: float,
    ) -> dict[str, Tensor]:
        """Each term's loss under its name."""
        if progress > self.until:
            return {}
        view = self.teacher(images)
        return {str(term.name): term(features, outputs, masks, view) for term in self.terms}
