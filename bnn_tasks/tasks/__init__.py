"""LightningModules: steps, metrics, optimiser; no architecture, no paths."""

from bnn_tasks.tasks.base import Task
from bnn_tasks.tasks.classification import ClassificationTask
from bnn_tasks.tasks.classification_metrics import ClassificationMetrics, ImageClassification
from bnn_tasks.tasks.detection import DetectionMetrics, DetectionTask, ImageDetections

__all__ = [
    "ClassificationMetrics",
    "ClassificationTask",
    "DetectionMetrics",
    "DetectionTask",
    "ImageClassification",
    "ImageDetections",
    "Task",
]
