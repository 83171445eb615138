"""Frozen real-valued nets whose feature maps a binary one learns from."""

from bnn_tasks.tasks.teachers.base import FeatureTeacher
from bnn_tasks.tasks.teachers.lite0 import EfficientNetLite0Teacher
from bnn_tasks.tasks.teachers.timm_teacher import TimmTeacher
from bnn_tasks.tasks.teachers.torchvision_teacher import TorchvisionTeacher

__all__ = ["EfficientNetLite0Teacher", "FeatureTeacher", "TimmTeacher", "TorchvisionTeacher"]
