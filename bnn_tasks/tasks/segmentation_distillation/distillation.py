"""The auxiliary loss that puts a teacher and the terms of imitation together."""

from torch import Tensor, nn

from bnn_tasks.models.segmenter import Segmenter
from bnn_tasks.tasks.losses import check_names
from bnn_tasks.tasks.segmentation_distillation.auxiliary import SegmentationAuxiliaryLoss
from bnn_tasks.tasks.segmentation_distillation.teacher import SegmenterTeacher, SegmenterView


class SegmentationImitationTerm(nn.Module):
    """Base class of the terms: one way in which the student is to be like the teacher.

    Attributes:
        name: under which it is logged.
    """

    name: str

    def bind(self, segmenter: Segmenter) -> None:
        """Check the arguments against the student, before anything is trained.

        Args:
            segmenter: the student.
        """

    def forward(self, features: list[Tensor], outputs: Tensor, masks: Tensor, view: SegmenterView) -> Tensor:
        """The term's loss, a scalar, its weight included.

        Args:
            features: of the student's backbone, (N, C, h, w) each, fine to coarse.
            outputs: the student's logits, (N, K, h, w).
            masks: (N, H, W) int64 in [0, K), 255 where void.
            view: what the teacher sees in the same images.
        """
        raise NotImplementedError


class SegmentationDistillation(SegmentationAuxiliaryLoss):
    """Imitate a real-valued segmenter; the teacher looks once at each batch, as the student gets it.

    Args:
        teacher: what is imitated.
        terms: how; at least one.
        until: share of the run after which imitation ends, in (0, 1]; 1 is never.

    Raises:
        ValueError: no terms, two of one name, or `until` is out of range.
    """

    def __init__(self, teacher: SegmenterTeacher, terms: list[SegmentationImitationTerm], until: float = 1.0) -> None:
        super().__init__()
        if not terms or not 0 < until <= 1:
            raise ValueError(f"Expected at least one of `terms` and `until` in (0, 1], but got {terms} and {until}.")
        check_names([term.name for term in terms])
        self.teacher, self.until = teacher, until
        self.terms = nn.ModuleList(terms)

    def bind(self, segmenter: Segmenter) -> None:
        """Bind every term."""
        for term in self.terms:
            assert isinstance(term, SegmentationImitationTerm)
            term.bind(segmenter)

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
