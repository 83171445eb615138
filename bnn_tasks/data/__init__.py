"""Lightning data modules, and the batches they hand to tasks."""

from bnn_tasks.data.augment import Augment
from bnn_tasks.data.base import DetectionData
from bnn_tasks.data.batch import DetectionBatch, DetectionTarget
from bnn_tasks.data.check import Report, check
from bnn_tasks.data.coco import CocoDetectionData
from bnn_tasks.data.findings import DataError
from bnn_tasks.data.synthetic import SyntheticDetectionData
from bnn_tasks.data.voc import VOCDetectionData

__all__ = [
    "Augment",
    "CocoDetectionData",
    "DataError",
    "DetectionBatch",
    "DetectionData",
    "DetectionTarget",
    "Report",
    "SyntheticDetectionData",
    "VOCDetectionData",
    "check",
]
