"""GroupNet's stages: one branch is the plain stage; gates and sums are their formulas; dilated branches differ."""

from functools import partial

import pytest
import torch
from nets import shake
from torch import Tensor

from bnn_tasks.backbones import (
    BLOCKS,
    BOTTLENECKS,
    BiRealBlock,
    BlockStage,
    BranchMean,
    BranchSum,
    CifarResNet,
    GroupStage,
    ReActBlock,
    ResNet,
    SoftGate,
    Stage,
    load_float_state_dict,
)


@pytest.mark.parametrize("block", BLOCKS)
def test_one_branch_is_the_plain_stage(block: str) -> None:
    torch.manual_seed(0)
    plain = shake(CifarResNet(14, BLOCKS[block], 4, (0, 1, 2)))
    group = CifarResNet(14, BLOCKS[block], 4, (0, 1, 2), partial(GroupStage, branches=1)).eval()
    state = {}
    for name, tensor in plain.state_dict().items():
        stage, _, rest = name.partition(".")
        state[f"{stage}.branches.0.{rest}" if stage.startswith("layer") else name] = tensor
    left = group.load_state_dict(state, strict=False)
    assert left.unexpected_keys == []
    assert all(name.endswith(("theta", "sum.weight")) for name in left.missing_keys)
    for stage in (group.layer1, group.layer2, group.layer3):
        for gate in (m for m in stage.modules() if isinstance(m, SoftGate)):
            gate.theta.data.fill_(0.7)
    x = torch.randn(2, 3, 13, 10)
    for found, expected in zip(group(x), plain(x), strict=True):
        assert torch.equal(found, expected)


@torch.no_grad()
def test_gates_and_sum_are_their_formulas() -> None:
    torch.manual_seed(0)
    stage = shake(GroupStage(BiRealBlock, 4, 8, 2, 3, branches=3))
    for parameter in (p for name, p in stage.named_parameters() if "theta" in name or name == "sum.weight"):
        parameter.normal_()
    x = torch.randn(2, 4, 9, 7)
    maps = [branch[0](x) for branch in stage.branches]  # the first blocks read the input ungated
    for depth in (1, 2):
        mean = (maps[0] + maps[1] + maps[2]) / 3
        gates = [torch.sigmoid(gate.theta) for gate in stage.gates[depth - 1].gates]
        mixed = [s * own + (1 - s) * mean for s, own in zip(gates, maps, strict=True)]
        maps = [branch[depth](own) for branch, own in zip(stage.branches, mixed, strict=True)]
    expected = sum(scale * own for scale, own in zip(stage.sum.weight, maps, strict=True))
    torch.testing.assert_close(stage(x), expected)


def test_what_leaves_start_as() -> None:
    maps = [torch.randn(2, 3, 4, 4) for _ in range(5)]
    mean = sum(maps) / 5
    torch.testing.assert_close(BranchMean(5)(*maps), mean)
    torch.testing.assert_close(BranchSum(5)(*maps), mean)
    torch.testing.assert_close(SoftGate()(maps[0], mean), (maps[0] + mean) / 2)


@torch.no_grad()
def test_leaves_say_the_weights_they_use() -> None:
    """What the exporter reads is what forward computes."""
    for leaf, count in ((BranchMean(3), 3), (BranchSum(3), 3), (SoftGate(), 2)):
        for parameter in leaf.parameters():
            parameter.normal_()
        maps = [torch.randn(2, 3, 4, 4) for _ in range(count)]
        expected = sum(weight * x for weight, x in zip(leaf.weights().tolist(), maps, strict=True))
        torch.testing.assert_close(leaf(*maps), expected)


def test_branches_start_different_and_all_learn() -> None:
    torch.manual_seed(0)
    net = CifarResNet(14, ReActBlock, 4, stage=partial(GroupStage, branches=3))
    assert not torch.equal(net.layer1.branches[0][0].first.conv.weight, net.layer1.branches[1][0].first.conv.weight)
    net(torch.randn(4, 3, 16, 16))[0].square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def reach(stage: GroupStage, branch: int) -> int:
    """How far from its pixel a branch looks, in pixels: where its output's gradient is not zero."""
    x = (0.1 * torch.randn(1, 2, 41, 41)).requires_grad_()
    y: Tensor = stage.branches[branch](x)
    y[0, :, 20, 20].sum().backward()
    rows = x.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    return int((rows - 20).abs().max())


def test_dilated_branches_see_different_contexts() -> None:
    """The published segmentation code gives every branch the last dilation; here each has its own."""
    torch.manual_seed(0)
    stage = GroupStage(BiRealBlock, 2, 2, 1, 1, branches=5, dilations=[2, 3, 4, 5, 6]).eval()
    assert [reach(stage, branch) for branch in range(5)] == [4, 6, 8, 10, 12]
    same = GroupStage(BiRealBlock, 2, 2, 1, 1, branches=5).eval()
    assert [reach(same, branch) for branch in range(5)] == [2] * 5


def test_dilated_branches_keep_the_size() -> None:
    stage = GroupStage(ReActBlock, 2, 4, 2, 2, branches=2, dilations=[1, 7])
    assert stage(torch.randn(2, 2, 9, 6)).shape == (2, 4, 5, 3)


def test_every_stage_may_have_its_own() -> None:
    stages = [
        BlockStage,
        partial(GroupStage, branches=2),
        partial(GroupStage, branches=2, dilations=[2, 3]),
        partial(GroupStage, branches=2, dilations=[6, 7]),
    ]
    net = ResNet(18, ReActBlock, 4, 3, (1, 2, 3, 4), stages)
    assert [m.shape[2:] for m in net(torch.randn(2, 3, 47, 47))] == [(12, 12), (6, 6), (3, 3), (2, 2)]
    assert net.layer4.branches[1][1].second.conv.dilation == (7, 7)


def test_bottlenecks_go_into_groups() -> None:
    net = ResNet(50, BOTTLENECKS["react"], 4, 3, stage=partial(GroupStage, branches=2))
    assert [m.shape[1] for m in net(torch.randn(2, 3, 32, 32))] == [32, 64, 128]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"branches": 0}, "Expected `branches` to be >= 1, but got 0"),
        ({"branches": 2, "dilations": [1]}, r"Expected `dilations` to be 2 numbers >= 1, one a branch, but got \[1\]"),
        ({"branches": 2, "dilations": [1, 0]}, "Expected `dilations`"),
        ({"branches": 2, "dilations": []}, "Expected `dilations`"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GroupStage(ReActBlock, 2, 2, 1, 1, **arguments)


def test_a_float_checkpoint_does_not_fill_branches() -> None:
    state = ResNet(18, BLOCKS["real"], 4, 7).state_dict()
    renamed = {"layer1.0.conv1.weight": state["layer1.0.conv1.weight"]}
    with pytest.raises(
        ValueError, match=r"Expected 'layer1' to be a sequence of blocks \(BlockStage\), but got GroupStage"
    ):
        load_float_state_dict(ResNet(18, ReActBlock, 4, 7, stage=GroupStage), renamed)


@pytest.mark.parametrize("stage", [BlockStage, GroupStage])
def test_a_stage_has_a_block(stage: type[Stage]) -> None:
    with pytest.raises(ValueError, match="Expected `count` to be >= 1, but got 0"):
        stage(ReActBlock, 2, 2, 1, 0)
