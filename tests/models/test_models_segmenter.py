"""Segmenters: shapes, gradients, receptive fields, and every part real or binary by choice."""

from collections.abc import Callable
from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F
from nets import shake
from segmenter_nets import DECODERS, KINDS, segmenter
from torch import nn

from bnn_tasks.backbones import (
    BOTTLENECKS,
    VGG16,
    AlexNet,
    Backbone,
    BiRealUnit,
    GroupStage,
    PlainUnit,
    ReActBlock,
    RealUnit,
    ResNet,
    VGGSmall,
    list_backbones,
)
from bnn_tasks.binary import BinaryConv2d
from bnn_tasks.models import ASPP, BPAC, FCNDecoder, PixelClassifier, Segmenter, SkipDecoder

FINEST = {"fcn32s": 32, "fcn16s": 16, "fcn8s": 8, "deeplabv3": 32}  # others: 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("decoder", DECODERS)
def test_logits_classes_and_gradients(decoder: str, kind: str) -> None:
    net = segmenter(decoder, kind)
    images, masks = torch.rand(2, 3, 49, 66), torch.randint(0, 3, (2, 49, 66))
    masks[:, :7] = 255
    logits = net(images)
    stride = FINEST.get(decoder, 4)
    assert logits.shape == (2, 3, -(-49 // stride), -(-66 // stride))
    losses = net.loss(logits, masks)
    sum(losses.values()).backward()  # type: ignore[union-attr]
    missing = [name for name, p in net.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert missing == []
    classes = net.decode(logits, (49, 66))
    assert classes.shape == (2, 49, 66)
    assert classes.dtype == torch.int64
    resized = F.interpolate(logits, (49, 66), mode="bilinear", align_corners=False)
    assert torch.equal(classes, resized.argmax(1))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(("backbone", "rest"), [("react", "real"), ("real", "react"), ("react", "react")])
def test_parts_are_binary_by_choice(decoder: str, backbone: str, rest: str) -> None:
    net = segmenter(decoder, rest, backbone_kind=backbone)
    for part, kind in ((net.backbone, backbone), (net.decoder, rest)):
        assert any(isinstance(layer, BinaryConv2d) for layer in part.modules()) == (kind == "react")


@pytest.mark.parametrize("block", [ReActBlock, *BOTTLENECKS.values()])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_output_stride_keeps_weights_and_changes_resolution(block: type, output_stride: int) -> None:
    depth = 18 if block is ReActBlock else 50
    net = ResNet(depth, block, 4, 3, (1, 2, 3, 4), output_stride=output_stride)
    maps = net(torch.rand(1, 3, 64, 96))
    reductions = [min(stride, output_stride) for stride in (4, 8, 16, 32)]
    assert net.feature_info.reduction() == reductions
    assert [tuple(x.shape[2:]) for x in maps] == [(64 // s, 96 // s) for s in reductions]
    plain = ResNet(depth, block, 4, 3, (1, 2, 3, 4))
    assert {k: v.shape for k, v in plain.state_dict().items()} == {k: v.shape for k, v in net.state_dict().items()}


BACKBONES: dict[str, Callable[[], Backbone]] = {
    **{name: partial(timm.create_model, name, features_only=True, width=4) for name in list_backbones()},
    "vgg16": partial(VGG16, width=4, out_indices=(2, 3, 4)),
    "vgg_small": partial(VGGSmall, width=4, out_indices=(0, 1, 2)),
    "alexnet": partial(AlexNet, width=2, out_indices=(0, 1, 2)),
}
DILATED: dict[str, Callable[..., Backbone]] = {  # those whose last map can be of stride 8, 16 or 32
    "resnet18": partial(ResNet, 18, ReActBlock, 4, 3, (1, 2, 3, 4)),
    "resnet50": partial(ResNet, 50, BOTTLENECKS["react"], 4, 3, (1, 2, 3, 4)),
    "vgg16": partial(VGG16, width=4, out_indices=(2, 3, 4)),
    "alexnet": partial(AlexNet, width=2, out_indices=(0, 1, 2)),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_can_be_segmented_with(name: str) -> None:
    backbone = BACKBONES[name]()
    channels = [4] * len(backbone.feature_info.channels())
    net = Segmenter(3, backbone, partial(SkipDecoder, channels=channels)).eval()
    finest = backbone.feature_info.reduction()[0]
    assert net(torch.rand(1, 3, 64, 64)).shape == (1, 3, 64 // finest, 64 // finest)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", DILATED)
def test_every_decoder_on_every_backbone_at_every_output_stride(name: str, decoder: str, output_stride: int) -> None:
    backbone = DILATED[name](output_stride=output_stride)
    finest, *_, coarsest = backbone.feature_info.reduction()
    assert coarsest == output_stride
    _, unit, join, activation = KINDS["react"]
    build = DECODERS[decoder](unit, join, activation)
    if decoder == "skip":
        build = partial(build, channels=[4] * len(backbone.feature_info.channels()))
    net = Segmenter(3, backbone, build).eval()
    logits = net(torch.rand(1, 3, 64, 96))
    maps = backbone.feature_info.reduction()
    stride = {"fcn32s": coarsest, "fcn16s": maps[-2], "fcn8s": maps[-3], "deeplabv3": coarsest}.get(decoder, finest)
    assert logits.shape == (1, 3, 64 // stride, 96 // stride)


@pytest.mark.parametrize("name", ["bnn_resnet18", "bnn_resnet34", "bnn_resnet50"])
def test_output_stride_is_timms_argument_too(name: str) -> None:
    backbone = timm.create_model(name, features_only=True, width=4, output_stride=8)
    assert backbone.feature_info.reduction() == [2, 4, 8, 8, 8]


def test_dilated_stages_have_the_dilations_of_the_strides_they_lost() -> None:
    net = ResNet(18, ReActBlock, 4, 3, output_stride=8)
    found = [{c.dilation for c in s.modules() if isinstance(c, BinaryConv2d)} for s in net.children()][-4:]
    assert found == [{(1, 1)}, {(1, 1)}, {(2, 2)}, {(4, 4)}]


def support(module: nn.Module, x: torch.Tensor) -> set[tuple[int, int]]:
    """Distances (rows, columns) of the inputs that reach the output in the middle."""
    x = x.requires_grad_()
    y = module(x)
    y[0, :, y.shape[2] // 2, y.shape[3] // 2].sum().backward()
    assert x.grad is not None
    rows, columns = torch.nonzero(x.grad.abs().sum((0, 1)), as_tuple=True)
    return {(int(r) - x.shape[2] // 2, int(c) - x.shape[3] // 2) for r, c in zip(rows, columns)}


@pytest.mark.parametrize("unit", [RealUnit, PlainUnit])
def test_every_bpac_branch_has_its_own_receptive_field(unit: type) -> None:
    rates = (2, 3, 4, 5, 6)
    context = shake(BPAC(4, 4, rates, unit=unit))
    fields = [support(branch, 0.1 + 0.8 * torch.rand(1, 4, 15, 17)) for branch in context.branches]
    for rate, field in zip(rates, fields):
        assert field == {(rate * dy, rate * dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)}


def test_every_branch_of_a_dilated_group_stage_has_its_own_receptive_field() -> None:
    block = partial(ReActBlock, dilation=2)  # what an output stride of 16 asks of the last stage: the stage's own count
    stage = shake(GroupStage(block, 4, 4, 1, 1, branches=5, dilations=(6, 7, 8, 9, 10)))
    widths = [max(r for r, _ in support(branch, torch.rand(1, 4, 61, 61) - 0.5)) for branch in stage.branches]
    assert widths == [12, 14, 16, 18, 20]  # two convolutions each


def test_bpac_is_the_weighted_sum_of_its_branches() -> None:
    context = shake(BPAC(4, 8, (1, 2), unit=RealUnit))
    context.sum.weight.data = torch.tensor([0.25, -2.0])
    x = torch.randn(2, 4, 9, 9)
    entry = context.entry(x)
    first, second = (branch(entry) for branch in context.branches)
    torch.testing.assert_close(context(x), 0.25 * first - 2 * second)


def test_aspp_joins_its_branches_and_the_mean_of_the_picture() -> None:
    context = shake(ASPP(4, 8, (2, 5), unit=RealUnit, projection=RealUnit))
    x = torch.randn(2, 4, 9, 11)
    entry = context.entry(x)
    pooled = context.pooling
    mean = pooled.bn(pooled.conv(entry.mean((2, 3), keepdim=True))).expand(-1, -1, 9, 11)
    parts = [branch(entry) for branch in context.branches]
    assert [branch.conv.kernel_size for branch in context.branches] == [(1, 1), (3, 3), (3, 3)]
    assert [branch.conv.dilation for branch in context.branches] == [(1, 1), (2, 2), (5, 5)]
    torch.testing.assert_close(context(x), context.projection(torch.cat([*parts, mean], 1)))


def test_no_sign_of_a_projection_sees_a_relus_output() -> None:
    torch.manual_seed(0)
    context = ASPP(4, 8, (2,), unit=BiRealUnit, projection=BiRealUnit).train()
    pooled = context.pooling(torch.randn(16, 8, 5, 5))
    assert 0.3 < float((pooled >= 0).float().mean()) < 0.7


def test_fcn_adds_coarse_scores_to_fine_ones() -> None:
    decoder = shake(FCNDecoder([4, 6], 3, scores=2, channels=8, unit=RealUnit))
    fine, coarse = torch.randn(1, 4, 7, 9), torch.randn(1, 6, 4, 5)
    high = decoder.scores[1](decoder.units(decoder.entry(coarse)))
    expected = decoder.scores[0](fine) + F.interpolate(high, (7, 9), mode="bilinear", align_corners=False)
    torch.testing.assert_close(decoder([fine, coarse]), expected)


def test_the_skip_decoder_hears_every_map() -> None:
    decoder = shake(SkipDecoder([4, 8], 3, (4, 8)))
    maps = [torch.randn(1, 4, 8, 8), torch.randn(1, 8, 4, 4)]
    before = decoder(maps)
    for index in range(2):
        changed = [m + 0.5 * (i == index) for i, m in enumerate(maps)]
        assert not torch.equal(decoder(changed), before)


def test_a_one_class_net_decodes_to_its_class() -> None:
    net = segmenter(num_classes=1).eval()
    logits = net(torch.rand(1, 3, 32, 32))
    assert net.decode(logits, (32, 32)).unique().tolist() == [0]
    assert float(net.loss(logits, torch.zeros(1, 32, 32, dtype=torch.int64))["cross_entropy"]) == 0


def test_a_pixel_classifier_without_dropout_has_none() -> None:
    assert not any(isinstance(m, nn.Dropout2d) for m in PixelClassifier(4, 2).modules())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: segmenter(num_classes=0), "num_classes"),
        (lambda: segmenter(num_classes=256), r"\[1, 255\]"),
        (lambda: segmenter(losses=[]), "at least one loss"),
        (lambda: Segmenter(3, ResNet(18, width=4, out_indices=(4,)), FCNDecoder), "at least 3 maps"),
        (lambda: Segmenter(3, ResNet(18, width=4), SkipDecoder), "3 numbers"),
        (lambda: ResNet(18, width=4, output_stride=4), "output_stride"),
        (lambda: BPAC(4, 4, ()), "rates"),
        (lambda: BPAC(4, 4, (0,)), "rates"),
        (lambda: ASPP(4, 0), "channels"),
        (lambda: PixelClassifier(4, 2, dropout=1.0), r"`dropout` to be in \[0, 1\), but got 1.0"),
        (lambda: PixelClassifier(4, 2, dropout=-0.1), "`dropout`"),
    ],
)
def test_bad_arguments(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()  # type: ignore[operator]
