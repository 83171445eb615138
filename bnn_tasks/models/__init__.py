"""Plain nn.Modules: forward -> raw outputs; loss(outputs, targets); decode(outputs); export_graph()."""

from bnn_tasks.models.auxiliary import AuxiliaryLoss
from bnn_tasks.models.classifier import Classifier, ImageClassifier
from bnn_tasks.models.classifier_binarized import BinarizedClassifier, BinarizedTimm, BinarizedTorchvision
from bnn_tasks.models.classifier_heads import (
    AlexNetHead,
    BinaryLinearUnit,
    FlattenHead,
    Head,
    LinearHead,
    LinearUnit,
    RealLinearUnit,
    WeightOnlyLinearUnit,
)
from bnn_tasks.models.detector import Boxes, BoxTarget, DecodeNode, Detector, Normalize, RawOutputs, StageNode
from bnn_tasks.models.fpn import FPN, Lateral, ResizeLike
from bnn_tasks.models.retinanet import RetinaNet
from bnn_tasks.models.retinanet_head import RetinaNetHead

__all__ = [
    "FPN",
    "AlexNetHead",
    "AuxiliaryLoss",
    "BinarizedClassifier",
    "BinarizedTimm",
    "BinarizedTorchvision",
    "BinaryLinearUnit",
    "BoxTarget",
    "Boxes",
    "Classifier",
    "DecodeNode",
    "Detector",
    "FlattenHead",
    "Head",
    "ImageClassifier",
    "Lateral",
    "LinearHead",
    "LinearUnit",
    "Normalize",
    "RawOutputs",
    "RealLinearUnit",
    "ResizeLike",
    "RetinaNet",
    "RetinaNetHead",
    "StageNode",
    "WeightOnlyLinearUnit",
]
