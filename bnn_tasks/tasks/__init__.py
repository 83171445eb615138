"""LightningModules: steps, metrics, optimiser; no architecture, no paths."""

from bnn_tasks.tasks.base import Task
from bnn_tasks.tasks.classification import ClassificationTask
from bnn_tasks.tasks.classification_metrics import ClassificationMetrics, ImageClassification
from bnn_tasks.tasks.detection import DetectionMetrics, DetectionTask, ImageDetections
from bnn_tasks.tasks.distillation import (
    CheckpointTeacher,
    DetectorTeacher,
    Distillation,
    ImitationTerm,
    ProposalImitation,
    PyramidImitation,
    ResponseImitation,
    TorchvisionDetectorTeacher,
)

__all__ = [
    "CheckpointTeacher",
    "ClassificationMetrics",
    "ClassificationTask",
    "DetectionMetrics",
    "DetectionTask",
    "DetectorTeacher",
    "Distillation",
    "ImageClassification",
    "ImageDetections",
    "ImitationTerm",
    "ProposalImitation",
    "PyramidImitation",
    "ResponseImitation",
    "Task",
    "TorchvisionDetectorTeacher",
]
