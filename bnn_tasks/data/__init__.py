"""Lightning data modules, and the batches they hand to tasks."""

from bnn_tasks.data.augment import Augment
from bnn_tasks.data.base import DetectionData
from bnn_tasks.data.batch import DetectionBatch, DetectionTarget
from bnn_tasks.data.check import Report, check
from bnn_tasks.data.classification import (
    BatchAugment,
    CIFAR10Data,
    CIFAR100Data,
    ClassificationBatch,
    ClassificationData,
    ClassificationReport,
    CropFlip,
    ImageFolderData,
    MNISTData,
    PictureAugment,
    RandomResizedCrop,
    Sample,
)
from bnn_tasks.data.coco import CocoDetectionData
from bnn_tasks.data.findings import DataError
from bnn_tasks.data.module import ImageData
from bnn_tasks.data.mosaic import Mosaic
from bnn_tasks.data.report import DataReport
from bnn_tasks.data.segmentation import (
    CamVidData,
    CityscapesData,
    CocoInstanceMaskData,
    CocoPanopticData,
    CocoStuffData,
    MaskFolderData,
    ScaleCropFlip,
    SegmentationAugment,
    SegmentationBatch,
    SegmentationData,
    SegmentationReport,
    SegmentationTarget,
    VOCSegmentationData,
)
from bnn_tasks.data.synthetic import SyntheticClassificationData, SyntheticDetectionData, SyntheticSegmentationData
from bnn_tasks.data.unlabelled import UnlabelledImageData
from bnn_tasks.data.view import DetectionAugment
from bnn_tasks.data.voc import VOCDetectionData
from bnn_tasks.data.voc_devkit import VOCDevkitData

__all__ = [
    "Augment",
    "BatchAugment",
    "CIFAR10Data",
    "CIFAR100Data",
    "CamVidData",
    "CityscapesData",
    "ClassificationBatch",
    "ClassificationData",
    "ClassificationReport",
    "CocoDetectionData",
    "CocoInstanceMaskData",
    "CocoPanopticData",
    "CocoStuffData",
    "CropFlip",
    "DataError",
    "DataReport",
    "DetectionAugment",
    "DetectionBatch",
    "DetectionData",
    "DetectionTarget",
    "ImageData",
    "ImageFolderData",
    "MNISTData",
    "MaskFolderData",
    "Mosaic",
    "PictureAugment",
    "RandomResizedCrop",
    "Report",
    "Sample",
    "ScaleCropFlip",
    "SegmentationAugment",
    "SegmentationBatch",
    "SegmentationData",
    "SegmentationReport",
    "SegmentationTarget",
    "SyntheticClassificationData",
    "SyntheticDetectionData",
    "SyntheticSegmentationData",
    "UnlabelledImageData",
    "VOCDetectionData",
    "VOCDevkitData",
    "VOCSegmentationData",
    "check",
]
