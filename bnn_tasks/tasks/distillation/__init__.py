"""Detection distillation: a real-valued teacher, and what of it a binary student imitates."""

from bnn_tasks.tasks.distillation.distillation import Distillation, ImitationTerm
from bnn_tasks.tasks.distillation.proposals import ProposalImitation
from bnn_tasks.tasks.distillation.pyramid import PyramidImitation
from bnn_tasks.tasks.distillation.response import ResponseImitation
from bnn_tasks.tasks.distillation.teacher import (
    CheckpointTeacher,
    DetectorTeacher,
    TeacherView,
    TorchvisionDetectorTeacher,
)

__all__ = [
    "CheckpointTeacher",
    "DetectorTeacher",
    "Distillation",
    "ImitationTerm",
    "ProposalImitation",
    "PyramidImitation",
    "ResponseImitation",
    "TeacherView",
    "TorchvisionDetectorTeacher",
]
