"""CifarResNet: layers, widths, parameters of the paper; its real one against a ResNet written out."""

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from bnn_tasks.backbones import BLOCKS, BlockStage, CifarResNet, GroupStage, ReActBlock, RealBlock
from bnn_tasks.binary import BinaryConv2d


@pytest.mark.parametrize(("depth", "thousands"), [(20, 270), (32, 460), (44, 660), (56, 850)])
def test_sizes_of_the_paper(depth: int, thousands: int) -> None:
    """He et al., 2016, table 6: 0.27, 0.46, 0.66 and 0.85 million parameters, with shortcuts without any."""
    net = CifarResNet(depth, RealBlock)
    shortcuts = sum(p.numel() for name, p in net.named_parameters() if "shortcut" in name)
    classifier = 64 * 10 + 10
    assert sum(p.numel() for p in net.parameters()) - shortcuts + classifier == pytest.approx(
        thousands * 1000, rel=0.02
    )
    layers = [m for name, m in net.named_modules() if isinstance(m, nn.Conv2d) and "shortcut" not in name]
    assert len(layers) + 1 == depth


@torch.no_grad()
def test_the_real_one_is_a_resnet() -> None:
    torch.manual_seed(0)
    net = CifarResNet(14, RealBlock, 4).eval()
    x = torch.randn(2, 3, 11, 9)
    y = F.relu(net.bn1(F.conv2d(x, net.conv1.weight, None, 1, 1)))
    for stage in (net.layer1, net.layer2, net.layer3):
        assert len(stage) == 2
        for block in stage:
            inner = F.relu(block.bn1(block.conv1(y)))
            y = F.relu(block.second.bn(block.second.conv(inner)) + block.shortcut(y))
    torch.testing.assert_close(net(x)[0], y)


@pytest.mark.parametrize("block", BLOCKS)
def test_everything_but_stem_and_shortcuts_is_binary(block: str) -> None:
    net = CifarResNet(20, BLOCKS[block], 4)
    binary = [m for m in net.modules() if isinstance(m, BinaryConv2d)]
    assert len(binary) == (0 if block == "real" else 18)


def test_widening_multiplies_channels() -> None:
    narrow, wide = CifarResNet(8, ReActBlock, 4, (0, 1, 2)), CifarResNet(8, ReActBlock, 8, (0, 1, 2))
    assert [2 * c for c in narrow.feature_info.channels()] == wide.feature_info.channels() == [8, 16, 32]


def test_stages_behind_the_last_map_are_not_built() -> None:
    assert CifarResNet(8, ReActBlock, 4, (0,)).stages == ["layer1"]
    assert CifarResNet(8, ReActBlock, 4, (1,)).feature_info.reduction() == [2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 18}, r"Expected `depth` to be 6n \+ 2 .*but got 18"),
        ({"depth": 2}, "Expected `depth`"),
        ({"width": 0}, "Expected `width` to be >= 1, but got 0"),
        ({"out_indices": ()}, "Expected `out_indices` to be increasing numbers from 0 to 2"),
        ({"out_indices": (3,)}, "Expected `out_indices`"),
        ({"stage": [BlockStage, GroupStage]}, "Expected `stage` to be one stage or a list of 3, but got 2"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CifarResNet(**{"width": 4, **arguments})


def test_timm_knows_widths_and_has_no_stem_to_choose() -> None:
    net = timm.create_model("bnn_resnet20", num_classes=7, width=2).eval()
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 7)
    assert net.num_features == 8
    with pytest.raises(TypeError, match=r"Expected no other arguments than .*, but got \['stem_kernel'\]"):
        timm.create_model("bnn_resnet20", stem_kernel=3)
