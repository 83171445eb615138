"""A tiny Faster R-CNN, each part of which is real or binary, for tests of models and export."""

from functools import partial

from torch import nn

from bnn_tasks.backbones import Block, ReActBlock, ReActUnit, ResNet, Unit
from bnn_tasks.models import FPN
from bnn_tasks.models.box_head import BinaryRegionUnit, TwoLayerBoxHead
from bnn_tasks.models.faster_rcnn import FasterRCNN
from bnn_tasks.models.proposals import Proposals
from bnn_tasks.models.roi import PyramidRoIAlign
from bnn_tasks.models.rpn_head import RPNHead


def faster_rcnn(
    num_classes: int = 3,
    block: type[Block] = ReActBlock,
    neck: type[Unit] = ReActUnit,
    rpn: type[Unit] = ReActUnit,
    box: type[Unit] = BinaryRegionUnit,
    extra_levels: int = 0,
    size: int = 3,
    count: int = 20,
    **arguments: object,
) -> FasterRCNN:
    settings = {
        "roi_align": partial(PyramidRoIAlign, output_size=size, canonical_size=32.0),
        "proposals": Proposals(count=count),
        "anchor_scale": 2.0,
    }
    return FasterRCNN(
        num_classes,
        ResNet(18, block, 4, 3),
        partial(FPN, channels=8, unit=neck, extra_levels=extra_levels),
        partial(RPNHead, unit=rpn),
        partial(TwoLayerBoxHead, width=16, unit=box),
        **(settings | arguments),
    )


def sharpen(net: FasterRCNN) -> FasterRCNN:
    """Give the outputs the spread that training gives, so that scores and boxes differ."""
    for layer, std in (
        (net.rpn_head.objectness, 0.5),
        (net.rpn_head.box_deltas, 0.1),
        (net.box_head.cls_logits, 0.3),
        (net.box_head.box_deltas, 0.3),
    ):
        nn.init.normal_(layer.weight, std=std)
    return net
