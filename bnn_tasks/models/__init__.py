"""Plain nn.Modules: forward -> raw outputs; loss(outputs, targets); decode(outputs); export_graph()."""

from bnn_tasks.models.auxiliary import AuxiliaryLoss
from bnn_tasks.models.box_head import BinaryRegionUnit, BoxHead, RealRegionUnit, TwoLayerBoxHead
from bnn_tasks.models.box_losses import BoxLoss, GIoUBoxLoss, SmoothL1BoxLoss
from bnn_tasks.models.box_sampling import RegionSampler
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
from bnn_tasks.models.context import ASPP, BPAC, Context, ImagePooling
from bnn_tasks.models.deeplab import DeepLabV3Decoder, DeepLabV3PlusDecoder
from bnn_tasks.models.default_boxes import DefaultBoxes
from bnn_tasks.models.detector import Boxes, BoxTarget, DecodeNode, Detector, Normalize, RawOutputs, StageNode
from bnn_tasks.models.faster_rcnn import FasterRCNN
from bnn_tasks.models.fcn import FCNDecoder
from bnn_tasks.models.fpn import FPN, Lateral, ResizeLike
from bnn_tasks.models.information_bottleneck import InformationBottleneck
from bnn_tasks.models.l2_norm import L2Norm
from bnn_tasks.models.percentile_clip import PercentileClip
from bnn_tasks.models.proposals import Proposals
from bnn_tasks.models.pyramid_decoder import PyramidDecoder, SkipDecoder
from bnn_tasks.models.resize import BilinearLike
from bnn_tasks.models.retinanet import RetinaNet
from bnn_tasks.models.retinanet_head import RetinaNetHead
from bnn_tasks.models.roi import PyramidRoIAlign
from bnn_tasks.models.rpn import RPNLoss
from bnn_tasks.models.rpn_head import RPNHead
from bnn_tasks.models.segmentation_decoder import PixelClassifier, SegmentationDecoder
from bnn_tasks.models.segmentation_losses import CrossEntropyLoss, DiceLoss, OHEMCrossEntropyLoss, SegmentationLoss
from bnn_tasks.models.segmenter import Segmenter
from bnn_tasks.models.sparse_objects import SparseObjects
from bnn_tasks.models.ssd import SSD
from bnn_tasks.models.ssd_extras import SSDExtras
from bnn_tasks.models.ssd_head import SSDHead, SSDPredictors, UnitSSDHead

__all__ = [
    "ASPP",
    "BPAC",
    "FPN",
    "SSD",
    "AlexNetHead",
    "AuxiliaryLoss",
    "BilinearLike",
    "BinarizedClassifier",
    "BinarizedTimm",
    "BinarizedTorchvision",
    "BinaryLinearUnit",
    "BinaryRegionUnit",
    "BoxHead",
    "BoxLoss",
    "BoxTarget",
    "Boxes",
    "Classifier",
    "Context",
    "CrossEntropyLoss",
    "DecodeNode",
    "DeepLabV3Decoder",
    "DeepLabV3PlusDecoder",
    "DefaultBoxes",
    "Detector",
    "DiceLoss",
    "FCNDecoder",
    "FasterRCNN",
    "FlattenHead",
    "GIoUBoxLoss",
    "Head",
    "ImageClassifier",
    "ImagePooling",
    "InformationBottleneck",
    "L2Norm",
    "Lateral",
    "LinearHead",
    "LinearUnit",
    "Normalize",
    "OHEMCrossEntropyLoss",
    "PercentileClip",
    "PixelClassifier",
    "Proposals",
    "PyramidDecoder",
    "PyramidRoIAlign",
    "RPNHead",
    "RPNLoss",
    "RawOutputs",
    "RealLinearUnit",
    "RealRegionUnit",
    "RegionSampler",
    "ResizeLike",
    "RetinaNet",
    "RetinaNetHead",
    "SSDExtras",
    "SSDHead",
    "SSDPredictors",
    "SegmentationDecoder",
    "SegmentationLoss",
    "Segmenter",
    "SkipDecoder",
    "SmoothL1BoxLoss",
    "SparseObjects",
    "StageNode",
    "TwoLayerBoxHead",
    "UnitSSDHead",
    "WeightOnlyLinearUnit",
]
