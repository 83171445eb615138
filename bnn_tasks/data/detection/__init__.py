"""Detection sets: VOC's layout, VOC 2007 + 2012, COCO's."""

from bnn_tasks.data.detection.augment import Augment
from bnn_tasks.data.detection.base import DetectionData
from bnn_tasks.data.detection.batch import DetectionBatch, DetectionTarget
from bnn_tasks.data.detection.check import Report, check
from bnn_tasks.data.detection.coco import CocoDetectionData
from bnn_tasks.data.detection.mosaic import Mosaic
from bnn_tasks.data.detection.view import DetectionAugment
from bnn_tasks.data.detection.voc import VOCDetectionData
from bnn_tasks.data.detection.voc_devkit import VOCDevkitData

__all__ = [
    "Augment",
    "CocoDetectionData",
    "DetectionAugment",
    "DetectionBatch",
    "DetectionData",
    "DetectionTarget",
    "Mosaic",
    "Report",
    "VOCDetectionData",
    "VOCDevkitData",
    "check",
]
