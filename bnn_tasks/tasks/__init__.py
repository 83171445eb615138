"""LightningModules: steps, metrics, optimiser; no architecture, no paths."""

from bnn_tasks.tasks.base import Task
from bnn_tasks.tasks.classification import ClassificationTask
from bnn_tasks.tasks.classification_auxiliary import ClassificationAuxiliaryLoss, OrthogonalityLoss
from bnn_tasks.tasks.classification_distillation import ClassifierTeacher, DistilledTraining
from bnn_tasks.tasks.classification_metrics import ClassificationMetrics, ImageClassification
from bnn_tasks.tasks.detection import DetectionTask
from bnn_tasks.tasks.detection_metrics import DetectionMetrics, ImageDetections
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
from bnn_tasks.tasks.feature_distillation import FeatureDistillationTask
from bnn_tasks.tasks.robustness import (
    Arsenal,
    ArtifactVictim,
    AttackTask,
    CheckpointVictim,
    ClassifierStudy,
    CorruptionTask,
    GoalAttack,
    OnDetected,
    PixelAttack,
    RobustnessTask,
    Victim,
    WorstImages,
)
from bnn_tasks.tasks.segmentation import SegmentationTask
from bnn_tasks.tasks.segmentation_distillation import (
    PairWiseImitation,
    PixelWiseImitation,
    SegmentationAuxiliaryLoss,
    SegmentationDistillation,
    SegmentationImitationTerm,
    SegmenterTeacher,
)
from bnn_tasks.tasks.segmentation_metrics import ImageSegmentation
from bnn_tasks.tasks.teachers import EfficientNetLite0Teacher, FeatureTeacher, TimmTeacher, TorchvisionTeacher

__all__ = [
    "Arsenal",
    "ArtifactVictim",
    "AttackTask",
    "CheckpointTeacher",
    "CheckpointVictim",
    "ClassificationAuxiliaryLoss",
    "ClassificationMetrics",
    "ClassificationTask",
    "ClassifierStudy",
    "ClassifierTeacher",
    "CorruptionTask",
    "DetectionMetrics",
    "DetectionTask",
    "DetectorTeacher",
    "Distillation",
    "DistilledTraining",
    "EfficientNetLite0Teacher",
    "FeatureDistillationTask",
    "FeatureTeacher",
    "GoalAttack",
    "ImageClassification",
    "ImageDetections",
    "ImageSegmentation",
    "ImitationTerm",
    "OnDetected",
    "OrthogonalityLoss",
    "PairWiseImitation",
    "PixelAttack",
    "PixelWiseImitation",
    "ProposalImitation",
    "PyramidImitation",
    "ResponseImitation",
    "RobustnessTask",
    "SegmentationAuxiliaryLoss",
    "SegmentationDistillation",
    "SegmentationImitationTerm",
    "SegmentationTask",
    "SegmenterTeacher",
    "Task",
    "TimmTeacher",
    "TorchvisionDetectorTeacher",
    "TorchvisionTeacher",
    "Victim",
    "WorstImages",
]
