"""Robustness of trained nets and of exported files: attacks on tasks, and the figures under attack."""

from bnn_tasks.robustness.corruptions import CorruptionScores
from bnn_tasks.tasks.robustness.arsenal import Arsenal
from bnn_tasks.tasks.robustness.artifact import ArtifactModel
from bnn_tasks.tasks.robustness.attack_task import AttackRow, AttackTask
from bnn_tasks.tasks.robustness.corruption_task import CorruptionTask
from bnn_tasks.tasks.robustness.detection_goals import (
    Classification,
    ClassWise,
    Combined,
    Fabrication,
    Mislabelling,
    Regression,
    Vanishing,
)
from bnn_tasks.tasks.robustness.detection_objectives import DetectionGoal, GoalAttack, OnDetected
from bnn_tasks.tasks.robustness.examinations import (
    CorruptedImages,
    Examination,
    FlippedBits,
    GradientCosines,
    LossSlices,
    SpectralNorms,
    TransferMatrix,
)
from bnn_tasks.tasks.robustness.findings import Accuracy, Examined, Example, Findings, Row
from bnn_tasks.tasks.robustness.segmentation_attacks import PixelAttack, WorstImages, sea
from bnn_tasks.tasks.robustness.study import ClassifierStudy
from bnn_tasks.tasks.robustness.task import RobustnessTask
from bnn_tasks.tasks.robustness.victims import ArtifactVictim, CheckpointVictim, Victim

__all__ = [
    "Accuracy",
    "Arsenal",
    "ArtifactModel",
    "ArtifactVictim",
    "AttackRow",
    "AttackTask",
    "CheckpointVictim",
    "ClassWise",
    "Classification",
    "ClassifierStudy",
    "Combined",
    "CorruptedImages",
    "CorruptionScores",
    "CorruptionTask",
    "DetectionGoal",
    "Examination",
    "Examined",
    "Example",
    "Fabrication",
    "Findings",
    "FlippedBits",
    "GoalAttack",
    "GradientCosines",
    "LossSlices",
    "Mislabelling",
    "OnDetected",
    "PixelAttack",
    "Regression",
    "RobustnessTask",
    "Row",
    "SpectralNorms",
    "TransferMatrix",
    "Vanishing",
    "Victim",
    "WorstImages",
    "sea",
]
