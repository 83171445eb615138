"""Image -> list of feature maps. Importing this package registers its backbones with timm."""

from bnn_tasks.backbones.activated_units import (
    ActivatedUnit,
    ClippedUnit,
    GatedUnit,
    LocalUnit,
    MaxoutUnit,
    PReLUUnit,
    ReActUnit,
)
from bnn_tasks.backbones.alexnet import AlexNet
from bnn_tasks.backbones.base import Backbone
from bnn_tasks.backbones.block import Block
from bnn_tasks.backbones.blocks import BLOCKS, PlainBlock, RealBlock, WeightOnlyBlock
from bnn_tasks.backbones.bottlenecks import (
    BOTTLENECKS,
    BiRealBottleneck,
    PlainBottleneck,
    ReActBottleneck,
    RealBottleneck,
)
from bnn_tasks.backbones.checkpoint import load_float_checkpoint, load_float_state_dict
from bnn_tasks.backbones.cifar_resnet import CifarResNet
from bnn_tasks.backbones.elementwise import ChannelScale, Maxout
from bnn_tasks.backbones.groupnet import BranchMean, BranchSum, GroupStage, SoftGate, SoftGates, WeightedSum
from bnn_tasks.backbones.paths import ChannelGroupMean, ChannelPath, ChannelRepeat, DepthwisePath, Downsample
from bnn_tasks.backbones.pooled_units import BACPUnit, CBAPUnit, RealPooledUnit, WeightOnlyPooledUnit
from bnn_tasks.backbones.registry import list_backbones
from bnn_tasks.backbones.resnet import ResNet
from bnn_tasks.backbones.stages import BlockStage, Stage
from bnn_tasks.backbones.timm_backbone import TimmBackbone
from bnn_tasks.backbones.unit_blocks import (
    BiRealBlock,
    ClippedBlock,
    GatedBlock,
    LocalBlock,
    MaxoutBlock,
    PReLUBlock,
    ReActBlock,
    UnitBlock,
)
from bnn_tasks.backbones.units import BiRealUnit, PlainUnit, RealUnit, Unit, WeightOnlyUnit
from bnn_tasks.backbones.vgg16 import VGG16
from bnn_tasks.backbones.vgg_small import VGGSmall
from bnn_tasks.backbones.zoo import timm_net

__all__ = [
    "BLOCKS",
    "BOTTLENECKS",
    "VGG16",
    "ActivatedUnit",
    "AlexNet",
    "BACPUnit",
    "Backbone",
    "BiRealBlock",
    "BiRealBottleneck",
    "BiRealUnit",
    "Block",
    "BlockStage",
    "BranchMean",
    "BranchSum",
    "CBAPUnit",
    "ChannelGroupMean",
    "ChannelPath",
    "ChannelRepeat",
    "ChannelScale",
    "CifarResNet",
    "ClippedBlock",
    "ClippedUnit",
    "DepthwisePath",
    "Downsample",
    "GatedBlock",
    "GatedUnit",
    "GroupStage",
    "LocalBlock",
    "LocalUnit",
    "Maxout",
    "MaxoutBlock",
    "MaxoutUnit",
    "PReLUBlock",
    "PReLUUnit",
    "PlainBlock",
    "PlainBottleneck",
    "PlainUnit",
    "ReActBlock",
    "ReActBottleneck",
    "ReActUnit",
    "RealBlock",
    "RealBottleneck",
    "RealPooledUnit",
    "RealUnit",
    "ResNet",
    "SoftGate",
    "SoftGates",
    "Stage",
    "TimmBackbone",
    "Unit",
    "UnitBlock",
    "VGGSmall",
    "WeightOnlyBlock",
    "WeightOnlyPooledUnit",
    "WeightOnlyUnit",
    "WeightedSum",
    "list_backbones",
    "load_float_checkpoint",
    "load_float_state_dict",
    "timm_net",
]
