"""Plain nn.Modules: forward -> raw outputs; loss(outputs, targets); decode(outputs); export_graph()."""

from bnn_tasks.models.detector import Boxes, BoxTarget, DecodeNode, Detector, Normalize, RawOutputs
from bnn_tasks.models.fpn import FPN, Lateral, ResizeLike
from bnn_tasks.models.retinanet import RetinaNet
from bnn_tasks.models.retinanet_head import RetinaNetHead

__all__ = [
    "FPN",
    "BoxTarget",
    "Boxes",
    "DecodeNode",
    "Detector",
    "Lateral",
    "Normalize",
    "RawOutputs",
    "ResizeLike",
    "RetinaNet",
    "RetinaNetHead",
]
