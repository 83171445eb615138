"""VGG-small and AlexNet: layers of the originals, what is real, sizes, gradients."""

import math

import pytest
import torch
from torch import nn

from bnn_tasks.backbones import (
    VGG16,
    AlexNet,
    BACPUnit,
    CBAPUnit,
    PlainUnit,
    ReActUnit,
    RealPooledUnit,
    RealUnit,
    Unit,
    VGGSmall,
    WeightOnlyPooledUnit,
)
from bnn_tasks.binary import BinaryConv2d

POOLED = [BACPUnit, CBAPUnit, RealPooledUnit, WeightOnlyPooledUnit]


@pytest.mark.parametrize("size", [(33, 47), (32, 32), (1, 1)], ids=str)
@pytest.mark.parametrize("unit", [*POOLED, RealUnit, PlainUnit, ReActUnit])
def test_vgg_small_maps(unit: type[Unit], size: tuple[int, int]) -> None:
    net = VGGSmall(unit, 2, (0, 1, 2)).eval()
    maps = net(torch.randn(1, 3, *size))
    assert net.feature_info.reduction() == [2, 4, 8]
    assert [m.shape[1] for m in maps] == net.feature_info.channels() == [2, 4, 8]
    assert [tuple(m.shape[2:]) for m in maps] == [tuple(math.ceil(s / r) for s in size) for r in (2, 4, 8)]


@pytest.mark.parametrize("size", [(61, 47), (64, 64), (1, 1)], ids=str)
@pytest.mark.parametrize("unit", POOLED)
def test_alexnet_maps(unit: type[Unit], size: tuple[int, int]) -> None:
    net = AlexNet(unit, 1, (0, 1, 2)).eval()
    maps = net(torch.randn(1, 3, *size))
    assert net.feature_info.reduction() == [8, 16, 32]
    assert [m.shape[1] for m in maps] == net.feature_info.channels() == [3, 8, 8]
    assert [tuple(m.shape[2:]) for m in maps] == [tuple(math.ceil(s / r) for s in size) for r in (8, 16, 32)]


@pytest.mark.parametrize(("output_stride", "reductions"), [(8, [8, 8, 8]), (16, [8, 16, 16]), (32, [8, 16, 32])])
@pytest.mark.parametrize("unit", POOLED)
def test_alexnets_output_stride(unit: type[Unit], output_stride: int, reductions: list[int]) -> None:
    net = AlexNet(unit, 1, (0, 1, 2), output_stride).eval()
    maps = net(torch.randn(1, 3, 97, 61))
    assert net.feature_info.reduction() == reductions
    assert [tuple(m.shape[2:]) for m in maps] == [tuple(math.ceil(s / r) for s in (97, 61)) for r in reductions]
    apart = 2 if output_stride == 8 else 1  # conv3 to conv5 read every 16th pixel, whatever stands before them
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d | BinaryConv2d)]
    assert [m.dilation[0] for m in convolutions] == [1, 1, apart, apart, apart]
    original = AlexNet(unit, 1, (0, 1, 2))
    assert {k: v.shape for k, v in original.state_dict().items()} == {k: v.shape for k, v in net.state_dict().items()}


def test_layers_of_the_originals() -> None:
    with torch.device("meta"):
        vgg, alexnet = VGGSmall(RealPooledUnit), AlexNet(RealPooledUnit)
    assert [tuple(m.weight.shape) for m in vgg.modules() if isinstance(m, nn.Conv2d)] == [
        (128, 3, 3, 3),
        (128, 128, 3, 3),
        (256, 128, 3, 3),
        (256, 256, 3, 3),
        (512, 256, 3, 3),
        (512, 512, 3, 3),
    ]
    assert [tuple(m.weight.shape) for m in alexnet.modules() if isinstance(m, nn.Conv2d)] == [
        (96, 3, 11, 11),
        (256, 96, 5, 5),
        (384, 256, 3, 3),
        (384, 384, 3, 3),
        (256, 384, 3, 3),
    ]


@pytest.mark.parametrize(("build", "layers"), [(VGGSmall, 5), (AlexNet, 4)])
@pytest.mark.parametrize("unit", [BACPUnit, CBAPUnit, WeightOnlyPooledUnit])
def test_only_the_first_convolution_is_real(build: type, layers: int, unit: type[Unit]) -> None:
    net = build(unit, 2)
    assert len([m for m in net.modules() if isinstance(m, BinaryConv2d)]) == layers
    assert [name for name, m in net.named_modules() if type(m) is nn.Conv2d] == ["conv1"]


@pytest.mark.parametrize("build", [VGGSmall, AlexNet])
@pytest.mark.parametrize("unit", POOLED)
def test_every_parameter_has_a_gradient(build: type, unit: type[Unit]) -> None:
    torch.manual_seed(0)
    net = build(unit, 4, (0, 1, 2))
    sum(m.square().sum() for m in net(torch.randn(8, 3, 64, 64))).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("build", [VGGSmall, AlexNet])
@pytest.mark.parametrize("unit", [BACPUnit, CBAPUnit])
def test_no_sign_sees_an_input_of_one_sign(build: type, unit: type[Unit]) -> None:
    torch.manual_seed(0)
    net = build(unit, 4)
    signs = []

    def look(module: nn.Module, args: tuple[torch.Tensor]) -> None:
        signs.append(bool((args[0] < 0).any() and (args[0] > 0).any()))

    for module in net.modules():
        if isinstance(module, BinaryConv2d):
            module.register_forward_pre_hook(look)
    net(torch.randn(4, 3, 64, 64))
    assert signs
    assert all(signs)


@pytest.mark.parametrize("build", [VGGSmall, AlexNet])
def test_stages_behind_the_last_map_are_not_built(build: type) -> None:
    net = build(BACPUnit, 2, (0,))
    assert len(net(torch.randn(1, 3, 32, 32))) == 1
    assert len(net.stages) == (1 if build is VGGSmall else 0)


@pytest.mark.parametrize("build", [VGGSmall, AlexNet])
@pytest.mark.parametrize(
    ("width", "indices", "name"), [(0, (2,), "width"), (2, (), "out_indices"), (2, (3,), "out_indices")]
)
def test_bad_arguments(build: type, width: int, indices: tuple[int, ...], name: str) -> None:
    with pytest.raises(ValueError, match=f"Expected `{name}`"):
        build(BACPUnit, width, indices)


def test_alexnet_needs_units_with_a_pool() -> None:
    with pytest.raises(TypeError, match=r"a pool of its own \(BACPUnit, .*'pool_kernel'"):
        AlexNet(ReActUnit)


def test_an_output_stride_that_alexnet_has_not() -> None:
    with pytest.raises(ValueError, match="`output_stride` to be 8, 16 or 32, but got 4"):
        AlexNet(BACPUnit, 1, output_stride=4)


@torch.no_grad()
@pytest.mark.parametrize(
    ("build", "stem"), [(VGGSmall, "conv1.weight"), (AlexNet, "conv1.weight"), (VGG16, "conv1_1.weight")]
)
def test_grey_images_are_the_mean_of_three_channels(build: type, stem: str) -> None:
    torch.manual_seed(0)
    unit = RealUnit if build is VGG16 else RealPooledUnit
    grey, colour = build(unit, 2, in_channels=1).eval(), build(unit, 2).eval()
    state = grey.state_dict()
    colour.load_state_dict({**state, stem: state[stem].expand(-1, 3, -1, -1) / 3})
    x = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(grey(x), colour(x.expand(-1, 3, -1, -1)))
    with pytest.raises(ValueError, match="Expected `in_channels` to be >= 1, but got 0"):
        build(unit, 2, in_channels=0)
