"""Classifiers: the contract, heads, loss and probabilities against their formulas."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from nets import shake
from torch import nn

from bnn_tasks.backbones import AlexNet, BACPUnit, CBAPUnit, CifarResNet, ReActBlock, RealPooledUnit, ResNet, VGGSmall
from bnn_tasks.binary import BinaryLinear
from bnn_tasks.models import (
    AlexNetHead,
    BinaryLinearUnit,
    Classifier,
    DecodeNode,
    FlattenHead,
    ImageClassifier,
    LinearHead,
    RealLinearUnit,
    WeightOnlyLinearUnit,
)

NETS = {
    "cifar": lambda k: Classifier(k, CifarResNet(8, width=4)),
    "resnet": lambda k: Classifier(k, ResNet(18, ReActBlock, 4, 3)),
    "vgg": lambda k: Classifier(k, VGGSmall(BACPUnit, 4), FlattenHead),
    "vgg_classic": lambda k: Classifier(k, VGGSmall(CBAPUnit, 4), partial(FlattenHead, activation=nn.Hardtanh)),
    "vgg_real": lambda k: Classifier(k, VGGSmall(RealPooledUnit, 4), FlattenHead),
    "alexnet": lambda k: Classifier(k, AlexNet(BACPUnit, 2), partial(AlexNetHead, size=1, hidden=8)),
    "alexnet_real": lambda k: Classifier(
        k, AlexNet(RealPooledUnit, 2), partial(AlexNetHead, size=1, hidden=8, unit=RealLinearUnit)
    ),
    "alexnet_bwn": lambda k: Classifier(
        k, AlexNet(RealPooledUnit, 2), partial(AlexNetHead, size=1, hidden=8, unit=WeightOnlyLinearUnit)
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_logits_loss_and_gradients(name: str) -> None:
    torch.manual_seed(0)
    net = NETS[name](3)
    assert isinstance(net, ImageClassifier)
    logits = net(torch.rand(6, 3, 32, 32))
    assert logits.shape == (6, 3)
    losses = net.loss(logits, torch.tensor([0, 1, 2, 0, 1, 2]))
    assert list(losses) == ["cross_entropy"]
    losses["cross_entropy"].backward()
    for parameter_name, parameter in net.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name


@torch.no_grad()
def test_forward_is_normalise_backbone_pool_linear() -> None:
    torch.manual_seed(0)
    mean, std = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
    net = shake(Classifier(5, CifarResNet(8, width=4, out_indices=(0, 2)), mean=mean, std=std))
    images = torch.rand(2, 3, 9, 11)
    x = torch.stack([(images[:, c] - mean[c]) / std[c] for c in range(3)], dim=1)
    pooled = net.backbone(x)[-1].mean((2, 3))
    torch.testing.assert_close(net(images), pooled @ net.head.fc.weight.T + net.head.fc.bias)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_cross_entropy_with_smoothed_targets(smoothing: float) -> None:
    net = Classifier(4, CifarResNet(8, width=2), label_smoothing=smoothing)
    logits, labels = torch.randn(3, 4), torch.tensor([3, 0, 1])
    target = torch.full((3, 4), smoothing / 4)
    target[torch.arange(3), labels] += 1 - smoothing
    expected = -(target * (logits - logits.exp().sum(1, keepdim=True).log())).sum(1).mean()
    torch.testing.assert_close(net.loss(logits, labels)["cross_entropy"], expected)


def test_decode_is_softmax_in_float32() -> None:
    net = Classifier(3, CifarResNet(8, width=2))
    logits = torch.tensor([[1.0, 2.0, 300.0], [0.0, 0.0, 0.0]])
    probabilities = net.decode(logits.bfloat16())
    assert probabilities.dtype == torch.float32
    torch.testing.assert_close(probabilities, torch.tensor([[0.0, 0.0, 1.0], [1 / 3] * 3]))
    assert net.loss(logits.bfloat16(), torch.tensor([0, 1]))["cross_entropy"].dtype == torch.float32


def test_export_graph_is_one_softmax() -> None:
    assert Classifier(3, CifarResNet(8, width=2)).export_graph() == [
        DecodeNode("softmax", ["logits"], ["probabilities"])
    ]


@torch.no_grad()
def test_flatten_head_is_a_linear_layer_over_all_pixels() -> None:
    head = FlattenHead(3, 2, (2, 4))
    x = torch.randn(2, 3, 2, 4)
    torch.testing.assert_close(head(x), F.linear(F.relu(x).reshape(2, -1), head.fc.weight, head.fc.bias))
    clipped = FlattenHead(3, 2, 2, nn.Hardtanh)
    y = 3 * torch.randn(2, 3, 2, 2)
    torch.testing.assert_close(clipped(y), F.linear(y.clamp(-1, 1).flatten(1), clipped.fc.weight, clipped.fc.bias))


@torch.no_grad()
def test_alexnet_head_binarises_fc6_and_fc7() -> None:
    torch.manual_seed(0)
    head = shake(AlexNetHead(4, 3, 2, 8, partial(BinaryLinearUnit, method="bnn")))
    assert [name for name, m in head.named_modules() if isinstance(m, BinaryLinear)] == ["fc6.linear", "fc7.linear"]
    x = torch.randn(5, 4, 2, 2)
    y = x.flatten(1)
    for unit in (head.fc6, head.fc7):
        signs = torch.where(y >= 0, 1.0, -1.0)
        y = unit.bn(signs @ torch.where(unit.linear.weight >= 0, 1.0, -1.0).T)
    torch.testing.assert_close(head(x), head.fc8(F.relu(y)))


def test_linear_units_say_which_methods_they_take() -> None:
    with pytest.raises(ValueError, match="binarise activations, but got 'bwn'"):
        BinaryLinearUnit(2, 2, "bwn")
    with pytest.raises(ValueError, match="binarise weights only, but got 'bnn'"):
        WeightOnlyLinearUnit(2, 2, "bnn")


@pytest.mark.parametrize("head", [FlattenHead(3, 2, 4), AlexNetHead(3, 2, 4, 8)])
def test_a_map_of_another_size(head: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"Expected a map of 4×4 pixels, but got 6×5. Cure: .*`size`.*LinearHead"):
        head(torch.randn(2, 3, 6, 5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "Expected `num_classes` to be >= 1, but got 0"),
        ({"label_smoothing": 1.0}, r"Expected `label_smoothing` to be in \[0, 1\), but got 1.0"),
        ({"label_smoothing": -0.1}, "Expected `label_smoothing`"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Classifier(**{"num_classes": 2, "backbone": CifarResNet(8, width=2), **arguments})


def test_linear_head_takes_maps_of_any_size() -> None:
    head = LinearHead(4, 3)
    assert head(torch.randn(2, 4, 1, 1)).shape == head(torch.randn(2, 4, 9, 5)).shape == (2, 3)


def test_spatially_tied_methods_need_an_input_size() -> None:
    block = partial(ReActBlock, method="xnor_pp_separable")
    with pytest.raises(ValueError, match=r"Expected `input_size` .* Cure: input_size=\(H, W\)"):
        Classifier(3, CifarResNet(8, block, width=4))
    net = Classifier(3, CifarResNet(8, block, width=4), input_size=(16, 12))
    assert net(torch.rand(2, 3, 16, 12)).shape == (2, 3)
    first = net.backbone.layer2[0].first.conv
    assert [tuple(f.shape) for f in first.output_scale.factors] == [(8, 1, 1), (1, 8, 1), (1, 1, 6)]
    with pytest.raises(ValueError, match=r"tied.*Cure: .*`input_size` of a classifier"):
        net(torch.rand(2, 3, 16, 16))


def test_spatially_tied_methods_of_grey_images() -> None:
    backbone = CifarResNet(8, partial(ReActBlock, method="xnor_pp_separable"), width=4, in_channels=1)
    net = Classifier(3, backbone, mean=[0.4], std=[0.2], input_size=(16, 12))
    assert net(torch.rand(2, 1, 16, 12)).shape == (2, 3)
