"""Scores that torchmetrics and pycocotools lack, in numpy alone."""

from bnn_tasks.metrics.boundary import boundary_f
from bnn_tasks.metrics.detection_confusion import detection_confusion
from bnn_tasks.metrics.segmentation import SegmentationConfusion
from bnn_tasks.metrics.truth import ImageTruth, object_counts, of_images, truth_by_image
from bnn_tasks.metrics.voc import Detected, VOCEvaluator, VOCResult

__all__ = [
    "Detected",
    "ImageTruth",
    "SegmentationConfusion",
    "VOCEvaluator",
    "VOCResult",
    "boundary_f",
    "detection_confusion",
    "object_counts",
    "of_images",
    "truth_by_image",
]
