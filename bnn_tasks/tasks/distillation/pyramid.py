"""Imitation of the teacher's feature maps, channel by channel."""

from torch import Tensor, nn

from bnn_tasks.models import Detector, RawOutputs
from bnn_tasks.tasks.distillation.distillation import ImitationTerm
from bnn_tasks.tasks.distillation.teacher import TeacherView

EPS = 1e-6


def standardize(x: Tensor) -> Tensor:
    """Every channel of `x`, (N, C, h, w), with mean 0 and variance 1 over the batch, in float32."""
    x = x.float()
    mean = x.mean(dim=(0, 2, 3), keepdim=True)
    return (x - mean) / (x.var(dim=(0, 2, 3), keepdim=True, unbiased=False) + EPS).sqrt()


def pairs(student: list[int], teacher: list[int]) -> list[tuple[int, int]]:
    """Levels of student and teacher of one stride.

    Args:
        student: strides.
        teacher: strides.

    Raises:
        ValueError: there is none.
    """
    found = [(i, teacher.index(stride)) for i, stride in enumerate(student) if stride in teacher]
    if not found:
        raise ValueError(
            f"Expected student and teacher to have levels of one stride, but they have {student} and {teacher}. "
            "Cure: `out_indices` of the backbone, or another teacher."
        )
    return found


class PyramidTerm(ImitationTerm):
    """Base class of the terms that compare pyramids, level by level of one stride.

    Args:
        teacher_channels: of the teacher's maps; None is the student's own, without an adapter; else a real 1×1
            convolution, trained along, maps the student's channels to them.
    """

    def __init__(self, teacher_channels: int | None) -> None:
        super().__init__()
        self.teacher_channels = teacher_channels
        self.adapters = nn.ModuleList()

    def bind(self, model: Detector) -> None:
        """Make an adapter a level."""
        for channels in model.feature_channels:
            wanted = self.teacher_channels
            self.adapters.append(nn.Identity() if wanted is None else nn.Conv2d(channels, wanted, 1, bias=False))

    def levels(self, detector: Detector, features: list[Tensor], view: TeacherView) -> list[tuple[int, Tensor, Tensor]]:
        """(stride, student's map, teacher's map) of every common level, channels standardised.

        Args:
            detector: the student.
            features: the student's, (N, C, h, w) a level.
            view: what the teacher sees in the same images.

        Raises:
            ValueError: no common stride, or maps of one stride differ in channels or size.
        """
        found = []
        for own, other in pairs(detector.feature_strides, view.strides):
            student, teacher = self.adapters[own](features[own]), view.features[other]
            if student.shape != teacher.shape:
                raise ValueError(
                    f"Expected student and teacher maps of one shape at stride {view.strides[other]}, but got "
                    f"{tuple(student.shape)} and {tuple(teacher.shape)}. Cure: `teacher_channels={teacher.shape[1]}`."
                )
            found.append((view.strides[other], standardize(student), standardize(teacher)))
        return found


class PyramidImitation(PyramidTerm):
    """weight · mean over levels of ½·mean (ŝ - t̂)², ŝ and t̂ standardised channels (PKD, Cao et al., 2022).

    ½·mean (ŝ - t̂)² = 1 - r, r the Pearson correlation of a channel: what counts is where a feature is large, not how
    large, since a binary student has other magnitudes. Levels are matched by stride.

    Args:
        weight: >= 0; 6 is the paper's for RetinaNet and 1 the default here.
        teacher_channels: see `PyramidTerm`.
    """

    name = "imitate_pyramid"

    def __init__(self, weight: float = 1.0, teacher_channels: int | None = None) -> None:
        super().__init__(teacher_channels)
        if weight < 0:
            raise ValueError(f"Expected `weight` to be >= 0, but got {weight}.")
        self.weight = weight

    def forward(
        self, detector: Detector, features: list[Tensor], outputs: RawOutputs, size: tuple[int, int], view: TeacherView
    ) -> Tensor:
        """See the class."""
        losses = [(mine - theirs).square().mean() / 2 for _, mine, theirs in self.levels(detector, features, view)]
        return self.weight * sum(losses[1:], losses[0]) / len(losses)
