"""Robustness of trained nets and of exported files: attacks on tasks, and the figures under attack."""

from bnn_tasks.tasks.robustness.arsenal import Arsenal
from bnn_tasks.tasks.robustness.artifact import ArtifactModel
from bnn_tasks.tasks.robustness.corruption_task import CorruptionTask
from bnn_tasks.tasks.robustness.findings import Accuracy, Example, Findings, Row
from bnn_tasks.tasks.robustness.study import ClassifierStudy
from bnn_tasks.tasks.robustness.task import RobustnessTask
from bnn_tasks.tasks.robustness.victims import ArtifactVictim, CheckpointVictim, Victim

__all__ = [
    "Accuracy",
    "Arsenal",
    "ArtifactModel",
    "ArtifactVictim",
    "CheckpointVictim",
    "ClassifierStudy",
    "CorruptionTask",
    "Example",
    "Findings",
    "RobustnessTask",
    "Row",
    "Victim",
]
