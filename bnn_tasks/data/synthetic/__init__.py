"""Generated sets: what the tests and a first run train on."""

from bnn_tasks.data.synthetic.class_folders import generate_classes
from bnn_tasks.data.synthetic.mask_folders import generate_masks
from bnn_tasks.data.synthetic.module import (
    SyntheticClassificationData,
    SyntheticDetectionData,
    SyntheticSegmentationData,
)
from bnn_tasks.data.synthetic.shapes import SHAPES
from bnn_tasks.data.synthetic.writer import generate

__all__ = [
    "SHAPES",
    "SyntheticClassificationData",
    "SyntheticDetectionData",
    "SyntheticSegmentationData",
    "generate",
    "generate_classes",
    "generate_masks",
]
