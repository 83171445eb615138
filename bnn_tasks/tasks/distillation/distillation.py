"""The auxiliary loss that puts a teacher and the terms of imitation together."""

from collections.abc import Sequence

from torch import Tensor, nn

from bnn_tasks.models import AuxiliaryLoss, BoxTarget, Detector, RawOutputs
from bnn_tasks.tasks.distillation.teacher import DetectorTeacher, TeacherView
from bnn_tasks.tasks.losses import check_names


class ImitationTerm(nn.Module):
    """Base class of the terms: one way in which the student is to be like the teacher.

    Attributes:
        name: under which it is logged.
    """

    name: str

    def bind(self, detector: Detector) -> None:
        """Make the parameters that depend on the student; called once, before the optimiser is built.

        Args:
            detector: the student.
        """

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


class Distillation(AuxiliaryLoss):
    """Imitate a real-valued teacher; the teacher looks once at each batch, as the student gets it.

    Args:
        teacher: what is imitated.
        terms: how; at least one.
        until: share of the run after which imitation ends, in (0, 1]; 1 is never.

    Raises:
        ValueError: no terms, two of one name, or `until` is out of range.
    """

    def __init__(self, teacher: DetectorTeacher, terms: list[ImitationTerm], until: float = 1.0) -> None:
        super().__init__()
        if not terms or not 0 < until <= 1:
            raise ValueError(f"Expected at least one of `terms` and `until` in (0, 1], but got {terms} and {until}.")
        check_names([term.name for term in terms])
        self.teacher, self.until = teacher, until
        self.terms = nn.ModuleList(terms)

    def bind(self, detector: Detector) -> None:
        """Bind every term."""
        for term in self.terms:
            assert isinstance(term, ImitationTerm)
            term.bind(detector)

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
