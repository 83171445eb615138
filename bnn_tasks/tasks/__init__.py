"""LightningModules: steps, metrics, optimiser; no architecture, no paths."""

from bnn_tasks.tasks.base import Task
from bnn_tasks.tasks.detection import DetectionMetrics, DetectionTask, ImageDetections

__all__ = ["DetectionMetrics", "DetectionTask", "ImageDetections", "Task"]
