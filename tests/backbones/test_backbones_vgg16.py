"""VGG-16: torchvision's layers and values, sizes of the maps, what is real, float checkpoints."""

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from nets import shake
from torch import Tensor, nn
from torchvision.models import vgg16
from torchvision.models.vgg import make_layers

from bnn_tasks.backbones import (
    VGG16,
    BiRealUnit,
    ChannelPath,
    PlainUnit,
    ReActUnit,
    RealUnit,
    Unit,
    WeightOnlyUnit,
    load_float_checkpoint,
    load_float_state_dict,
)
from bnn_tasks.binary import BinaryConv2d

UNITS = [RealUnit, PlainUnit, BiRealUnit, ReActUnit, WeightOnlyUnit]
WIDTH = 4


@pytest.mark.parametrize("size", [(33, 47), (97, 61), (64, 64), (1, 1)], ids=str)
@pytest.mark.parametrize("unit", UNITS)
def test_maps_are_as_feature_info_says(unit: type[Unit], size: tuple[int, int]) -> None:
    net = VGG16(unit, 1, (0, 1, 2, 3, 4)).eval()
    maps = net(torch.randn(1, 3, *size))
    assert net.feature_info.reduction() == [1, 2, 4, 8, 16]
    assert [m.shape[1] for m in maps] == net.feature_info.channels() == [1, 2, 4, 8, 16]
    assert [tuple(m.shape[2:]) for m in maps] == [tuple(math.ceil(s / r) for s in size) for r in (1, 2, 4, 8, 16)]


@pytest.mark.parametrize(("stride", "conv5", "conv6"), [(8, 2, 12), (16, 1, 6), (32, 1, 3)])
def test_dilation_keeps_what_a_tap_is_apart_in_pixels(stride: int, conv5: int, conv6: int) -> None:
    net = VGG16(PlainUnit, 1, (3, 4), output_stride=stride).eval()
    assert net.feature_info.reduction() == [8, stride]
    maps = net(torch.randn(1, 3, 97, 61))
    assert [tuple(m.shape[2:]) for m in maps] == [tuple(math.ceil(s / r) for s in (97, 61)) for r in (8, stride)]
    layers = {name: m.dilation[0] for name, m in net.named_modules() if isinstance(m, BinaryConv2d)}
    assert [d for name, d in layers.items() if "conv5" in name] == [conv5] * 3
    assert [d for name, d in layers.items() if "conv6" in name] == [conv6]
    assert conv6 * stride == 96
    assert conv5 * min(stride, 16) == 16
    with pytest.raises(ValueError, match="`output_stride` to be 8, 16 or 32, but got 4"):
        VGG16(PlainUnit, 1, output_stride=4)


def test_ssds_maps_at_300_pixels() -> None:
    maps = VGG16(PlainUnit, 1).eval()(torch.randn(1, 3, 300, 300))
    assert [tuple(m.shape[1:]) for m in maps] == [(8, 38, 38), (16, 19, 19)]


@pytest.mark.parametrize("unit", [RealUnit, PlainUnit])
def test_layers_of_the_original(unit: type[Unit]) -> None:
    with torch.device("meta"):
        net, theirs = VGG16(unit), vgg16()
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | BinaryConv2d)]
    own = [tuple(m.weight.shape) for m in layers]
    assert own[:13] == [tuple(m.weight.shape) for m in theirs.features if isinstance(m, nn.Conv2d)]
    assert own[13:] == [(1024, 512, 3, 3), (1024, 1024, 1, 1)]
    assert [m.dilation for m in layers] == [(1, 1)] * 13 + [(6, 6), (1, 1)]


@pytest.mark.parametrize(
    "unit", [PlainUnit, partial(ReActUnit, path=ChannelPath), partial(BiRealUnit, path=ChannelPath)]
)
def test_only_the_first_convolution_is_real(unit: type[Unit]) -> None:
    net = VGG16(unit, 2)
    assert len([m for m in net.modules() if isinstance(m, BinaryConv2d)]) == 14
    assert [name for name, m in net.named_modules() if isinstance(m, nn.Conv2d)] == ["conv1_1"]


def test_the_default_path_is_real_where_channels_grow() -> None:
    real = [name for name, m in VGG16(BiRealUnit, 2).named_modules() if isinstance(m, nn.Conv2d)]
    units = ("layer2.conv2_1", "layer3.conv3_1", "layer4.conv4_1", "layer5.conv6")
    assert real == ["conv1_1", *(f"{unit}.shortcut.conv" for unit in units)]


@pytest.mark.parametrize("unit", UNITS)
def test_every_parameter_has_a_gradient(unit: type[Unit]) -> None:
    torch.manual_seed(0)
    net = VGG16(unit, WIDTH)
    sum(m.square().sum() for m in net(torch.randn(4, 3, 64, 64))).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("unit", [PlainUnit, BiRealUnit, ReActUnit])
def test_signs_behind_a_pool_are_balanced(unit: type[Unit]) -> None:
    torch.manual_seed(0)
    net = VGG16(unit, WIDTH)
    shares = {}

    def look(module: nn.Module, args: tuple[Tensor]) -> None:
        shares[module] = float((args[0] > 0).float().mean())

    behind = [net.layer2.conv2_1, net.layer3.conv3_1, net.layer4.conv4_1, net.layer5.conv5_1, net.layer5.conv6]
    for module in behind:
        module.conv.register_forward_pre_hook(look)
    net(torch.randn(4, 3, 96, 96))
    assert len(shares) == len(behind)
    assert all(0.3 < share < 0.7 for share in shares.values()), shares


def test_stages_behind_the_last_map_are_not_built() -> None:
    net = VGG16(PlainUnit, 2, (1,))
    assert net.stages == ["layer1", "layer2"]
    assert len(net(torch.randn(1, 3, 32, 32))) == 1


@pytest.mark.parametrize(
    ("width", "indices", "name"), [(0, (4,), "width"), (2, (), "out_indices"), (2, (5,), "out_indices")]
)
def test_bad_arguments(width: int, indices: tuple[int, ...], name: str) -> None:
    with pytest.raises(ValueError, match=f"Expected `{name}`"):
        VGG16(PlainUnit, width, indices)


def small_vgg16(batch_norm: bool) -> nn.Module:
    """torchvision's VGG-16 with 4 channels for every 64."""
    plan: list[int | str] = []
    for factor, depth in ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3)):
        plan += [factor * WIDTH] * depth + ["M"]
    net = nn.Module()
    net.features = make_layers(plan, batch_norm=batch_norm)
    net.classifier = nn.Sequential(
        nn.Linear(8 * WIDTH * 49, 64 * WIDTH), nn.ReLU(), nn.Dropout(), nn.Linear(64 * WIDTH, 64 * WIDTH), nn.ReLU()
    )
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.bias)
    return shake(net)


@torch.no_grad()
@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_real_twin_computes_what_torchvision_computes(batch_norm: bool) -> None:
    torch.manual_seed(0)
    theirs, net = small_vgg16(batch_norm), VGG16(RealUnit, WIDTH, (0, 1, 2, 3, 4)).eval()
    report = load_float_state_dict(net, theirs.state_dict())
    assert report.left_out == []
    assert all("num_batches_tracked" in name or "pool" in name for name in report.fresh)
    x = torch.randn(2, 3, 48, 64)
    maps, pools = net(x), []
    for layer in theirs.features:
        if isinstance(layer, nn.MaxPool2d):
            pools.append(x)
        x = layer(x)
    for ours, expected in zip(maps[:4], pools, strict=False):
        torch.testing.assert_close(torch.relu(ours), expected, rtol=1e-4, atol=1e-4)
    hidden = nn.functional.max_pool2d(pools[4], 3, 1, 1)
    first, second = theirs.classifier[0], theirs.classifier[3]
    kernel = first.weight.view(64 * WIDTH, 8 * WIDTH, 7, 7)[::4, :, ::3, ::3]
    hidden = torch.relu(nn.functional.conv2d(hidden, kernel, first.bias[::4], padding=6, dilation=6))
    weight = second.weight[::4, ::4, None, None]
    torch.testing.assert_close(maps[4], nn.functional.conv2d(hidden, weight, second.bias[::4]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("unit", [PlainUnit, ReActUnit, WeightOnlyUnit])
def test_signs_of_a_checkpoint_arrive_in_binary_layers(unit: type[Unit]) -> None:
    state = small_vgg16(True).state_dict()
    net = VGG16(unit, WIDTH)
    load_float_state_dict(net, state)
    assert torch.equal(net.conv1_1.weight, state["features.0.weight"])
    latent = net.layer5.conv5_3.conv.weight
    assert torch.equal(latent.sign(), state["features.40.weight"].sign())
    assert torch.equal(
        net.layer5.conv5_3.bn.running_mean, state["features.41.running_mean"] - state["features.40.bias"]
    )


def test_a_checkpoint_without_a_classifier_leaves_conv6_and_conv7() -> None:
    state = {name: tensor for name, tensor in small_vgg16(True).state_dict().items() if "classifier" not in name}
    net = VGG16(PlainUnit, WIDTH)
    before = net.layer5.conv6.conv.weight.detach().clone()
    report = load_float_state_dict(net, state)
    assert torch.equal(net.layer5.conv6.conv.weight, before)
    assert {"layer5.conv6.conv.weight", "layer5.conv7.conv.weight"} <= set(report.fresh)


def test_layers_that_are_not_built_are_left_out() -> None:
    state = small_vgg16(False).state_dict()
    net = VGG16(RealUnit, WIDTH, (1,))
    report = load_float_state_dict(net, state)
    assert report.loaded == sorted(
        name for name in net.state_dict() if "pool" not in name and "num_batches_tracked" not in name
    )
    assert len(report.left_out) == 2 * (9 + 2)


def test_from_a_file(tmp_path: Path) -> None:
    state = small_vgg16(True).state_dict()
    torch.save(state, tmp_path / "net.pth")
    net = VGG16(ReActUnit, WIDTH)
    report = load_float_checkpoint(net, tmp_path / "net.pth")
    assert report.left_out == []
    assert torch.equal(net.conv1_1.weight, state["features.0.weight"])
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "parallel.pth")
    with pytest.raises(ValueError, match=r"parallel\.pth: .*start with 'module\.'.*name\.removeprefix\('module\.'\)"):
        load_float_checkpoint(net, tmp_path / "parallel.pth")


def test_grey_images_by_the_sum_over_colours() -> None:
    net = VGG16(PlainUnit, WIDTH, in_channels=1)
    state = small_vgg16(True).state_dict()
    with pytest.raises(ValueError, match=r"for 1 channel\(s\), but got one for 3.*sum\(1, keepdim=True\)"):
        load_float_state_dict(net, state)
    grey = torch.rand(1, 1, 9, 9)
    expected = nn.functional.conv2d(grey.expand(1, 3, 9, 9), state["features.0.weight"], padding=1)
    state["features.0.weight"] = state["features.0.weight"].sum(1, keepdim=True)
    load_float_state_dict(net, state)
    torch.testing.assert_close(net.conv1_1(grey), expected)


WRONG = {
    "features.28.weight": (torch.zeros(8 * WIDTH, 8 * WIDTH, 1, 1), r"'features\.28\.weight' to give .*width"),
    "features.28.bias": (torch.zeros(1), r"'features\.28\.bias' to give"),
    "classifier.0.weight": (torch.zeros(64 * WIDTH, 8), r"'classifier\.0' to be a fully-connected layer on 7×7 maps"),
    "classifier.3.bias": (torch.zeros(2), r"'classifier\.3' to be a fully-connected layer"),
    "pre_logits.fc1.weight": (torch.zeros(2), r"'pre_logits\.fc1\.weight' has no place.*'features\.' alone"),
    "state_dict": ({}, r"Cure: state\['state_dict'\]"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_tensor_that_does_not_fit_leaves_the_backbone_as_it_is(name: str) -> None:
    tensor, message = WRONG[name]
    net = VGG16(PlainUnit, WIDTH)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_float_state_dict(net, {**small_vgg16(False).state_dict(), name: tensor})
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize(
    ("batch_norm", "name"),
    [
        (False, "features.28.bias"),
        (False, "classifier.0.bias"),
        (True, "features.1.running_var"),
        (True, "features.41.running_mean"),
        (True, "features.41.weight"),
    ],
)
def test_a_missing_tensor_is_named(batch_norm: bool, name: str) -> None:
    state = small_vgg16(batch_norm).state_dict()
    del state[name]
    with pytest.raises(ValueError, match=rf"lacks \['{name}'\]"):
        load_float_state_dict(VGG16(PlainUnit, WIDTH), state)


def test_checkpoints_of_other_networks() -> None:
    state = small_vgg16(True).state_dict()
    with pytest.raises(ValueError, match=r"'features\.0\.weight' to give .*width"):
        load_float_state_dict(VGG16(PlainUnit, 2), state)
    state = {name: tensor for name, tensor in state.items() if not name.startswith("features.40")}
    with pytest.raises(ValueError, match=r"13 convolutions.*has 12"):
        load_float_state_dict(VGG16(PlainUnit, WIDTH), state)
    with pytest.raises(TypeError, match="to be a ResNet or a VGG16"):
        load_float_state_dict(nn.Identity(), state)
