"""Segmentation sets: folders of pictures and masks, CamVid, VOC, Cityscapes, COCO."""

from bnn_tasks.data.segmentation.augment import ScaleCropFlip, SegmentationAugment
from bnn_tasks.data.segmentation.base import SegmentationData
from bnn_tasks.data.segmentation.batch import SegmentationBatch, SegmentationTarget
from bnn_tasks.data.segmentation.camvid import CamVidData
from bnn_tasks.data.segmentation.check import SegmentationReport
from bnn_tasks.data.segmentation.cityscapes import CityscapesData
from bnn_tasks.data.segmentation.coco_instances import CocoInstanceMaskData
from bnn_tasks.data.segmentation.coco_panoptic import CocoPanopticData
from bnn_tasks.data.segmentation.coco_stuff import CocoStuffData
from bnn_tasks.data.segmentation.folder import MaskFolderData
from bnn_tasks.data.segmentation.voc import VOCSegmentationData

__all__ = [
    "CamVidData",
    "CityscapesData",
    "CocoInstanceMaskData",
    "CocoPanopticData",
    "CocoStuffData",
    "MaskFolderData",
    "ScaleCropFlip",
    "SegmentationAugment",
    "SegmentationBatch",
    "SegmentationData",
    "SegmentationReport",
    "SegmentationTarget",
    "VOCSegmentationData",
]
