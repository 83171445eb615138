"""binarize() on nets of timm and torchvision as they are."""

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from bnn_tasks.binary import BinaryConv2d, BinaryLinear, binarize


def binary_layers(net: nn.Module) -> dict[str, nn.Module]:
    return {name: m for name, m in net.named_modules() if isinstance(m, BinaryConv2d | BinaryLinear)}


def check_signs_and_gradients(net: nn.Module, x: Tensor) -> None:
    """Every sign sees both signs, and every parameter gets a finite gradient."""
    one_signed: list[str] = []

    def look(name: str) -> object:
        def hook(module: nn.Module, args: tuple[Tensor]) -> None:
            if not ((args[0] < 0).any() and (args[0] > 0).any()):
                one_signed.append(name)

        return hook

    layers = binary_layers(net)
    assert layers
    for name, layer in layers.items():
        layer.register_forward_pre_hook(look(name))
    net.train()
    net(x).square().sum().backward()
    assert one_signed == []
    assert [n for n, p in net.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()] == []


@pytest.mark.parametrize("name", ["resnet10t", "resnet18"])
def test_timm_resnets(name: str) -> None:
    torch.manual_seed(0)
    net = timm.create_model(name, channels=(8, 8, 16, 16), stem_width=8, num_classes=3, zero_init_last=False)
    keep = ["conv1*", "fc", "*downsample*"]
    check_signs_and_gradients(binarize(net, "react", keep=keep), torch.randn(2, 3, 64, 64))


def test_a_densenet() -> None:
    torch.manual_seed(0)
    net = torchvision.models.DenseNet(4, (2, 2), num_init_features=8, num_classes=3)
    binary = binarize(net, "react", keep=["features.conv0", "classifier"])
    assert len(binary_layers(binary)) == 9
    check_signs_and_gradients(binary, torch.randn(2, 3, 64, 64))


def test_mobilenet_needs_its_squeeze_excitation_kept() -> None:
    torch.manual_seed(0)
    net = torchvision.models.mobilenet_v3_small(num_classes=3)
    first = ["features.0.0", "classifier.*"]
    with pytest.raises(ValueError, match=r"never negative"):
        binarize(net, "react", keep=first)
    # The projections after a ReLU times a squeeze-excitation's gate are one-signed too.
    keep = [*first, "*.fc1", "*.fc2", "features.1.block.2.0"]
    check_signs_and_gradients(binarize(net, "react", keep=keep), torch.randn(2, 3, 64, 64))
