"""Runs exported binary networks on numpy arrays, with numba and without torch."""

from bnn_tasks.runtime.classification import Classification
from bnn_tasks.runtime.detection import Detections
from bnn_tasks.runtime.format import ArtifactError
from bnn_tasks.runtime.images import read_image
from bnn_tasks.runtime.resize import Resize
from bnn_tasks.runtime.segmentation import Segmentation
from bnn_tasks.runtime.session import Session

__all__ = ["ArtifactError", "Classification", "Detections", "Resize", "Segmentation", "Session", "read_image"]
