"""Tiny segmenters: every decoder with every kind of unit, and the backbones that go with them."""

from collections.abc import Callable
from functools import partial

from torch import nn

from bnn_tasks.backbones import (
    BiRealBlock,
    BiRealUnit,
    Block,
    ChannelPath,
    GroupStage,
    LocalBlock,
    LocalUnit,
    PlainBlock,
    PlainUnit,
    ReActBlock,
    ReActUnit,
    RealBlock,
    RealUnit,
    ResNet,
    Unit,
)
from bnn_tasks.models import (
    ASPP,
    BPAC,
    FPN,
    DeepLabV3Decoder,
    DeepLabV3PlusDecoder,
    FCNDecoder,
    PyramidDecoder,
    Segmenter,
    SkipDecoder,
)

MAPS = (1, 2, 3, 4)

# name: block, unit, what joins concatenated maps, activation before the classifier
KINDS: dict[str, tuple[type[Block], type[Unit], Callable[..., Unit], type[nn.Module]]] = {
    "real": (RealBlock, RealUnit, RealUnit, nn.ReLU),
    "plain": (PlainBlock, PlainUnit, PlainUnit, nn.Identity),
    "bireal": (BiRealBlock, BiRealUnit, partial(BiRealUnit, path=ChannelPath), nn.Identity),
    "react": (ReActBlock, ReActUnit, partial(ReActUnit, path=ChannelPath), nn.Identity),
    "local": (LocalBlock, LocalUnit, partial(ReActUnit, path=ChannelPath), nn.Identity),
}

Join = Callable[..., Unit]
DECODERS: dict[str, Callable[[type[Unit], Join, type[nn.Module]], Callable]] = {
    "fcn32s": lambda u, j, a: partial(FCNDecoder, scores=1, channels=8, unit=u, activation=a),
    "fcn16s": lambda u, j, a: partial(FCNDecoder, scores=2, channels=8, unit=u, activation=a),
    "fcn8s": lambda u, j, a: partial(FCNDecoder, scores=3, channels=8, unit=u, activation=a),
    "deeplabv3": lambda u, j, a: partial(
        DeepLabV3Decoder, context=partial(ASPP, channels=8, rates=(2, 12), unit=u, projection=j), unit=u, activation=a
    ),
    "deeplabv3plus": lambda u, j, a: partial(
        DeepLabV3PlusDecoder,
        context=partial(ASPP, channels=8, rates=(2, 3), unit=u, projection=j),
        entry=j,
        unit=u,
        activation=a,
    ),
    "bpac": lambda u, j, a: partial(
        DeepLabV3PlusDecoder,
        context=partial(BPAC, channels=8, rates=(1, 2, 3), unit=u),
        entry=j,
        unit=u,
        activation=a,
    ),
    "pyramid": lambda u, j, a: partial(PyramidDecoder, neck=partial(FPN, channels=8, unit=u), unit=u, activation=a),
    "skip": lambda u, j, a: partial(SkipDecoder, channels=(4, 8, 8, 8), unit=u, activation=a),
}


def segmenter(
    decoder: str = "skip",
    kind: str = "react",
    num_classes: int = 3,
    output_stride: int = 32,
    width: int = 4,
    backbone_kind: str | None = None,
    bpac_backbone: bool = False,
    **arguments: object,
) -> Segmenter:
    """A net of one decoder; its backbone is of the same kind unless another one is named."""
    block = KINDS[backbone_kind or kind][0]
    _, unit, join, activation = KINDS[kind]
    stages: dict[str, object] = {}
    if bpac_backbone:
        two = partial(GroupStage, branches=2)
        stages = {"stage": [two, two, partial(two, dilations=(2, 3)), partial(two, dilations=(4, 5))]}
    backbone = ResNet(18, block, width, 3, MAPS, output_stride=output_stride, **stages)  # type: ignore[arg-type]
    return Segmenter(num_classes, backbone, DECODERS[decoder](unit, join, activation), **arguments)  # type: ignore[arg-type]
