"""Segmentation distillation: a real-valued teacher, and what of it a binary student imitates."""

from bnn_tasks.tasks.segmentation_distillation.auxiliary import SegmentationAuxiliaryLoss
from bnn_tasks.tasks.segmentation_distillation.distillation import SegmentationDistillation, SegmentationImitationTerm
from bnn_tasks.tasks.segmentation_distillation.pair_wise import PairWiseImitation
from bnn_tasks.tasks.segmentation_distillation.pixel_wise import PixelWiseImitation
from bnn_tasks.tasks.segmentation_distillation.teacher import SegmenterTeacher, SegmenterView

__all__ = [
    "PairWiseImitation",
    "PixelWiseImitation",
    "SegmentationAuxiliaryLoss",
    "SegmentationDistillation",
    "SegmentationImitationTerm",
    "SegmenterTeacher",
    "SegmenterView",
]
