"""Image -> list of feature maps. Importing this package registers its backbones with timm."""

from bnn_tasks.backbones.base import Backbone
from bnn_tasks.backbones.blocks import BLOCKS, BiRealBlock, Block, PlainBlock, ReActBlock, RealBlock
from bnn_tasks.backbones.checkpoint import LoadReport, load_float_checkpoint, load_float_state_dict
from bnn_tasks.backbones.registry import list_backbones
from bnn_tasks.backbones.resnet import ResNet
from bnn_tasks.backbones.units import BiRealUnit, Downsample, PlainUnit, ReActUnit, RealUnit, Unit

__all__ = [
    "BLOCKS",
    "Backbone",
    "BiRealBlock",
    "BiRealUnit",
    "Block",
    "Downsample",
    "LoadReport",
    "PlainBlock",
    "PlainUnit",
    "ReActBlock",
    "ReActUnit",
    "RealBlock",
    "RealUnit",
    "ResNet",
    "Unit",
    "list_backbones",
    "load_float_checkpoint",
    "load_float_state_dict",
]
