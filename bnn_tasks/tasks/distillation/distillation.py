"""The auxiliary loss that puts a teacher and the terms of imitation together."""

from collections.abc import Sequence

from torch import Tensor

from bnn_tasks.models import AuxiliaryLoss, BoxTarget, Detector, RawOutputs
from bnn_tasks.tasks.distillation.imitation import Imitation, Term
from bnn_tasks.tasks.distillation.teacher import DetectorTeacher, TeacherView


class ImitationTerm(Term):
    """Base class of the terms of a detector."""

    def bind(self, model: Detector) -> None:
        """See `Term`."""

    def forward(
        self, detector: Detector, features: list[Tensor], outputs: RawOutputs, size: tuple[int, int], view: TeacherView
    ) -> Tensor:
        """The term's loss, a scalar, its weight included.

        Args:
            detector: the student.
            features: the student's, (N, C, h, w) a level.
            outputs: the student's raw outputs.
            size: (H, W) of the images.
            view: what the teacher sees in the same images.
        """
        raise NotImplementedError


class Distillation(Imitation[DetectorTeacher], AuxiliaryLoss):
    """Imitate a real-valued detector; see `Imitation`.

    Args:
        teacher: what is imitated.
        terms: how; at least one.
        until: share of the run after which imitation ends, in (0, 1]; 1 is never.

    Raises:
        ValueError: no terms, two of one name, or `until` is out of range.
    """

    # Written out for its types, by which a config's teacher and terms are looked up.
    def __init__(self, teacher: DetectorTeacher, terms: list[ImitationTerm], until: float = 1.0) -> None:
        super().__init__(teacher, terms, until)

    def forward(
        self,
        detector: Detector,
        images: Tensor,
        features: list[Tensor],
        outputs: RawOutputs,
        targets: Sequence[BoxTarget],
        progress: float,
    ) -> dict[str, Tensor]:
        """Each term's loss under its name."""
        if progress > self.until:
            return {}
        view = self.teacher(images)
        size = (images.shape[2], images.shape[3])
        return {str(term.name): term(detector, features, outputs, size, view) for term in self.terms}
