"""ResNet-50: real paths around every binary convolution, and torchvision's weights into the real one."""

import copy
from pathlib import Path

import pytest
import torch
import torchvision
from nets import shake
from torch import nn

from bnn_tasks.backbones import (
    BOTTLENECKS,
    ChannelPath,
    Downsample,
    ResNet,
    load_float_checkpoint,
    load_float_state_dict,
)
from bnn_tasks.binary import BinaryConv2d


def torchvision_resnet50(width: int = 8) -> nn.Module:
    """torchvision's class and blocks, `width` instead of 64 channels."""
    net = torchvision.models.resnet50(num_classes=5)
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d):
                inputs = child.in_channels if child.in_channels == 3 else child.in_channels * width // 64
                outputs = child.out_channels * width // 64
                geometry = (child.kernel_size, child.stride, child.padding)
                setattr(module, name, nn.Conv2d(inputs, outputs, *geometry, bias=False))
            elif isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.BatchNorm2d(child.num_features * width // 64))
    return shake(net)


def test_as_many_parameters_as_torchvisions_resnet50() -> None:
    with torch.device("meta"):
        theirs = torchvision.models.resnet50()
        ours = ResNet(50, BOTTLENECKS["real"], 64, 7)
    sizes = [sum(p.numel() for p in net.parameters()) for net in (theirs, ours)]
    assert sizes[0] - theirs.fc.weight.numel() - 1000 == sizes[1]


def test_the_real_one_computes_what_torchvision_computes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = torchvision_resnet50()
    torch.save(net.state_dict(), tmp_path / "net.pth")
    backbone = ResNet(50, BOTTLENECKS["real"], 8, 7, (0, 1, 2, 3, 4))
    report = load_float_checkpoint(backbone, tmp_path / "net.pth")
    assert report.fresh == []
    assert report.left_out == ["fc.bias", "fc.weight"]
    pooling = copy.deepcopy(net)
    for stage in (pooling.layer2, pooling.layer3, pooling.layer4):  # ours pools before its strided 1×1
        stage[0].downsample[0].stride = (1, 1)
        stage[0].downsample.insert(0, nn.AvgPool2d(2, 2, ceil_mode=True))
    x = torch.randn(1, 3, 41, 33)
    maps = []
    with torch.no_grad():
        y = pooling.relu(pooling.bn1(pooling.conv1(x)))
        maps.append(y)
        y = pooling.maxpool(y)
        for name in ("layer1", "layer2", "layer3", "layer4"):
            y = getattr(pooling, name)(y)
            maps.append(y)
        for found, expected in zip(backbone.eval()(x), maps, strict=True):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("block", ["plain", "bireal", "react"])
def test_float_weights_become_latent_weights(block: str) -> None:
    net = torchvision_resnet50()
    backbone = ResNet(50, BOTTLENECKS[block], 8, 7)
    report = load_float_state_dict(backbone, net.state_dict())
    place = {"conv1": "first", "conv2": "second", "conv3": "third"}
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        for theirs, ours in zip(getattr(net, stage), getattr(backbone, stage), strict=True):
            for source, unit in place.items():
                assert torch.equal(getattr(ours, unit).conv.weight, getattr(theirs, source).weight)
    downsamples = [name for name in net.state_dict() if "downsample" in name]
    if block == "plain":
        assert not set(downsamples) & set(report.left_out)
    else:
        assert set(downsamples) < set(report.left_out)


@pytest.mark.parametrize("block", ["bireal", "react"])
def test_no_binary_bottleneck_has_a_real_convolution(block: str) -> None:
    net = ResNet(50, BOTTLENECKS[block], 4, 3)
    assert [name for name, m in net.named_modules() if type(m) is nn.Conv2d] == ["conv1"]
    assert len([m for m in net.modules() if isinstance(m, BinaryConv2d)]) == 3 * 16
    assert len([m for m in net.modules() if isinstance(m, ChannelPath)]) == 3 * 16


@torch.no_grad()
@pytest.mark.parametrize(("channels", "stride"), [((16, 16), 1), ((8, 16), 2), ((4, 16), 1)])
def test_a_real_path_goes_through_the_whole_block(channels: tuple[int, int], stride: int) -> None:
    """With silent convolutions: averaging to a quarter and repeating four times, pooled where the stride is."""
    block = BOTTLENECKS["bireal"](*channels, stride).eval()
    for unit in (block.first, block.second, block.third):
        nn.init.zeros_(unit.bn.weight)
    x = torch.randn(1, channels[0], 5, 7)
    inner = channels[1] // 4
    mean = torch.stack([x[:, j * inner : (j + 1) * inner] for j in range(channels[0] // inner)]).mean(0)
    if stride == 2:
        mean = nn.functional.avg_pool2d(mean, 2, 2, ceil_mode=True)
    torch.testing.assert_close(block(x), torch.cat([mean] * 4, dim=1))


def test_the_plain_one_has_one_shortcut() -> None:
    block = BOTTLENECKS["plain"](8, 16, 2).eval()
    assert isinstance(block.shortcut, Downsample)
    nn.init.zeros_(block.third.bn.weight)
    x = torch.randn(1, 8, 5, 5)
    assert torch.equal(block(x), block.shortcut(x).clamp(-1, 1))


@pytest.mark.parametrize("block", BOTTLENECKS)
def test_channels_that_are_no_multiple_of_four(block: str) -> None:
    with pytest.raises(ValueError, match="multiple of 4, but got 6"):
        BOTTLENECKS[block](6, 6)
