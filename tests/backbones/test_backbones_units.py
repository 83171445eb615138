"""Every unit and path against its formula written out."""

import pytest
import torch
import torch.nn.functional as F
from nets import shake
from torch import Tensor, nn

from bnn_tasks.backbones import (
    BACPUnit,
    BiRealUnit,
    CBAPUnit,
    ChannelGroupMean,
    ChannelPath,
    ChannelRepeat,
    ChannelScale,
    ClippedUnit,
    DepthwisePath,
    Downsample,
    GatedUnit,
    LocalBlock,
    LocalUnit,
    Maxout,
    MaxoutUnit,
    PlainUnit,
    PReLUUnit,
    ReActUnit,
    RealPooledUnit,
    RealUnit,
    ResNet,
    Unit,
    WeightOnlyBlock,
    WeightOnlyPooledUnit,
    WeightOnlyUnit,
)
from bnn_tasks.backbones.units import shortcut

BINARY = [PlainUnit, BiRealUnit, ReActUnit, PReLUUnit, ClippedUnit, MaxoutUnit, GatedUnit]
ALL = [RealUnit, WeightOnlyUnit, *BINARY]


def sign(x: Tensor) -> Tensor:
    return torch.where(x >= 0, 1.0, -1.0)


def normalised(unit: Unit, y: Tensor) -> Tensor:
    bn = unit.bn
    shape = (-1, 1, 1)
    std = (bn.running_var + bn.eps).sqrt()
    return (y - bn.running_mean.view(shape)) / std.view(shape) * bn.weight.view(shape) + bn.bias.view(shape)


def binary_part(unit: Unit, x: Tensor, stride: int = 1) -> Tensor:
    """BatchNorm(mean(abs(W)) · sign(W) ⊛ sign(x)) of a unit of method `bireal`."""
    weight = unit.conv.weight
    scale = weight.abs().mean((1, 2, 3)).view(-1, 1, 1)
    return normalised(unit, F.conv2d(sign(x), sign(weight), None, stride, 1) * scale)


FORMULAS = {
    PlainUnit: lambda unit, binary, path: binary,
    BiRealUnit: lambda unit, binary, path: binary + path,
    ClippedUnit: lambda unit, binary, path: (binary + path).clamp(-1, 1),
    PReLUUnit: lambda unit, binary, path: F.prelu(binary + path, unit.activation.weight),
    MaxoutUnit: lambda unit, binary, path: (
        unit.activation.positive.view(-1, 1, 1) * F.relu(binary + path)
        - unit.activation.negative.view(-1, 1, 1) * F.relu(-binary - path)
    ),
    GatedUnit: lambda unit, binary, path: binary + unit.gate.weight.view(-1, 1, 1) * path,
}


@torch.no_grad()
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", FORMULAS)
def test_a_unit_is_its_formula(kind: type[Unit], stride: int) -> None:
    torch.manual_seed(1)
    unit = shake(kind(4, 4 * stride, stride, "bireal"))
    for name, parameter in unit.named_parameters():
        if name.startswith(("activation", "gate")):
            nn.init.normal_(parameter)
    x = torch.randn(2, 4, 7, 5)
    path = x if stride == 1 or kind is PlainUnit else unit.shortcut(x)
    torch.testing.assert_close(unit(x), FORMULAS[kind](unit, binary_part(unit, x, stride), path))


@torch.no_grad()
def test_a_weight_only_unit_multiplies_real_activations() -> None:
    torch.manual_seed(1)
    unit = shake(WeightOnlyUnit(3, 4))
    x = torch.randn(2, 3, 6, 5)
    weight = unit.conv.weight
    scale = weight.abs().mean((1, 2, 3)).view(-1, 1, 1)
    expected = normalised(unit, F.conv2d(F.relu(x), sign(weight), None, 1, 1) * scale)
    torch.testing.assert_close(unit(x), expected)


@torch.no_grad()
def test_a_weight_only_block_is_the_real_block_with_binary_weights() -> None:
    torch.manual_seed(1)
    block = shake(WeightOnlyBlock(3, 6, 2, "binary_connect"))
    x = torch.randn(2, 3, 9, 7)
    first = F.relu(block.bn1(F.conv2d(x, sign(block.conv1.weight), None, 2, 1)))
    second = block.second.bn(F.conv2d(first, sign(block.second.conv.weight), None, 1, 1))
    torch.testing.assert_close(block(x), F.relu(second + block.shortcut(x)))


def test_what_new_parts_start_as() -> None:
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(Maxout(3)(x), F.leaky_relu(x, 0.25))
    assert torch.equal(ChannelScale(3)(x), x)
    unit = GatedUnit(3, 3, method="bireal").eval()
    torch.testing.assert_close(unit(x), unit.bn(unit.conv(x)) + x)


def test_maxout_and_gate_learn_by_channel() -> None:
    x = torch.tensor([[-2.0, -1.0, 3.0], [1.0, 4.0, -5.0]]).view(1, 2, 1, 3)
    maxout, scale = Maxout(2), ChannelScale(2)
    (maxout(x).sum() + scale(x).sum()).backward()
    assert maxout.positive.grad.tolist() == [3, 5]
    assert maxout.negative.grad.tolist() == [-3, -5]
    assert scale.weight.grad.tolist() == [0, 0]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("kernel_size", "dilation"), [(1, 1), (3, 1), (3, 2), (5, 1), (3, 5)])
@pytest.mark.parametrize("kind", ALL)
def test_any_kernel_and_dilation_keeps_the_size(kind: type[Unit], kernel_size: int, dilation: int, stride: int) -> None:
    unit = kind(4, 8, stride, kernel_size=kernel_size, dilation=dilation)
    y = unit(torch.randn(2, 4, 9, 6))
    assert y.shape == (2, 8, -(-9 // stride), -(-6 // stride))
    assert unit.conv.dilation == (dilation, dilation)


@pytest.mark.parametrize("kernel_size", [0, 2])
@pytest.mark.parametrize("kind", [*ALL, RealPooledUnit])
def test_a_kernel_that_changes_the_size_is_refused(kind: type[Unit], kernel_size: int) -> None:
    with pytest.raises(ValueError, match=f"Expected `kernel_size` to be odd and >= 1, but got {kernel_size}"):
        kind(4, 4, kernel_size=kernel_size)


@pytest.mark.parametrize("kind", [*BINARY, BACPUnit, CBAPUnit])
def test_units_of_signs_refuse_weight_only_methods(kind: type[Unit]) -> None:
    with pytest.raises(ValueError, match=r"binarise activations, but got 'bwn'.*Cure: WeightOnlyBlock"):
        kind(4, 4, 1, "bwn")


@pytest.mark.parametrize("kind", [WeightOnlyUnit, WeightOnlyPooledUnit])
def test_units_of_relus_refuse_signs(kind: type[Unit]) -> None:
    with pytest.raises(ValueError, match=r"binarise weights only, but got 'react'.*always \+1"):
        kind(4, 4, 1, "react")


def test_repeat_and_group_mean_are_loops_over_channels() -> None:
    x = torch.randn(2, 3, 2, 2)
    repeated = ChannelRepeat(2)(x)
    for channel in range(6):
        assert torch.equal(repeated[:, channel], x[:, channel % 3])
    y = torch.randn(2, 6, 2, 2)
    mean = ChannelGroupMean(6, 3)(y)
    for channel in range(3):
        torch.testing.assert_close(mean[:, channel], (y[:, channel] + y[:, channel + 3]) / 2)
    torch.testing.assert_close(ChannelGroupMean(6, 3)(repeated), x)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [(4, 4), (4, 16), (16, 4), (8, 4)])
def test_a_channel_path_has_no_parameters_and_a_convolutions_size(channels: tuple[int, int], stride: int) -> None:
    path = ChannelPath(*channels, stride)
    x = torch.randn(1, channels[0], 7, 5)
    assert list(path.parameters()) == []
    convolution = nn.Conv2d(*channels, 3, stride, 1)
    assert path(x).shape == convolution(x).shape
    constant = path(torch.full_like(x, 2.5))
    assert torch.equal(constant, torch.full_like(constant, 2.5))


def test_a_channel_path_of_the_same_shape_is_the_input() -> None:
    x = torch.randn(1, 4, 3, 3)
    assert torch.equal(ChannelPath(4, 4, 1)(x), x)


def test_widths_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match=r"Expected `out_channels` to divide `in_channels`, but got 4 and 6"):
        ChannelPath(6, 4, 1)


def test_a_shortcut_is_real_where_the_shape_changes() -> None:
    assert isinstance(shortcut(4, 4, 1), nn.Identity)
    assert isinstance(shortcut(4, 4, 2), Downsample)
    assert isinstance(shortcut(4, 8, 1), Downsample)


@torch.no_grad()
@pytest.mark.parametrize("size", [(6, 8), (7, 5)])
def test_block_orders(size: tuple[int, int]) -> None:
    """B-A-C-P pools the sums, C-B-A-P what their signs will be; the next layer sees other bits."""
    torch.manual_seed(2)
    first = shake(BACPUnit(4, 5, 2, "bnn"))
    x = torch.randn(2, 4, *size)
    sums = F.conv2d(sign(x), sign(first.conv.weight), None, 1, 1)
    pooled = F.max_pool2d(sums, 2, 2, ceil_mode=True)
    torch.testing.assert_close(first(x), normalised(first, pooled))
    second = CBAPUnit(4, 5, 2, "bnn").eval()
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(second(x), F.max_pool2d(normalised(second, sums), 2, 2, ceil_mode=True))
    signs = F.max_pool2d(sign(normalised(second, sums)), 2, 2, ceil_mode=True)
    assert torch.equal(sign(second(x)), signs)  # the maximum commutes with the sign
    assert not torch.equal(sign(first(x)), signs)  # a negative gamma does not commute with the maximum


@torch.no_grad()
@pytest.mark.parametrize("kind", [RealPooledUnit, WeightOnlyPooledUnit])
def test_pooled_twins_are_their_units_and_a_pool(kind: type[Unit]) -> None:
    unit = shake(kind(4, 6, 2, kernel_size=5, pool_kernel=3))
    x = torch.randn(2, 4, 9, 6)
    flat = shake(kind(4, 6, 1, kernel_size=5, pool_kernel=3))
    flat.load_state_dict(unit.state_dict())
    assert unit(x).shape == (2, 6, 5, 3)
    assert torch.equal(unit(x), F.max_pool2d(flat(x), 3, 2, 1))


@pytest.mark.parametrize("kind", [BACPUnit, CBAPUnit, RealPooledUnit, WeightOnlyPooledUnit])
def test_pooled_units_halve_once(kind: type[Unit]) -> None:
    with pytest.raises(ValueError, match="Expected `stride` to be 1 or 2, but got 4"):
        kind(4, 4, 4)


def test_a_local_unit_begins_as_a_react_unit_and_its_filter_is_a_depthwise_convolution() -> None:
    torch.manual_seed(0)
    local, react = LocalUnit(6, 6), ReActUnit(6, 6)
    report = local.load_state_dict(react.state_dict(), strict=False)
    assert report.missing_keys == ["shortcut.weight"]
    assert report.unexpected_keys == []
    x = torch.randn(2, 6, 5, 7)
    assert torch.equal(local(x), react(x))
    weight = torch.randn(6, 1, 3, 3)
    local.shortcut.weight.data.copy_(weight)
    padded, expected = F.pad(x, (1, 1, 1, 1)), x.clone()
    for dy in range(3):
        for dx in range(3):
            expected += weight[:, 0, dy, dx].view(-1, 1, 1) * padded[:, :, dy : dy + 5, dx : dx + 7]
    assert torch.allclose(local.shortcut(x), expected, atol=1e-5)


def test_a_backbone_leaves_the_filters_of_local_blocks_at_zero() -> None:
    filters = [m for m in ResNet(18, LocalBlock, 4).modules() if isinstance(m, DepthwisePath)]
    assert len(filters) == 13  # of 16 units, three change the shape
    assert all(not m.weight.any() for m in filters)


@pytest.mark.parametrize("size", [(64, 96), (65, 99)])
def test_a_high_resolution_entry_doubles_every_map(size: tuple[int, int]) -> None:
    backbone = ResNet(18, LocalBlock, 4, 3, (0, 1, 2, 3, 4), entry_stride=2)
    assert backbone.feature_info.reduction() == [2, 2, 4, 8, 16]
    for stride, x in zip(backbone.feature_info.reduction(), backbone(torch.rand(1, 3, *size))):
        assert x.shape[2:] == tuple(-(-side // stride) for side in size)
    with pytest.raises(ValueError, match="`entry_stride` to be 2 or 4, but got 3"):
        ResNet(entry_stride=3)
