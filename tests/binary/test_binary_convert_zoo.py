"""binarize() on nets of timm and torchvision as they are."""

import copy
from collections.abc import Callable

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


@pytest.mark.parametrize("traced_in_training", [True, False])
def test_batchnorms_with_an_activation_know_both_modes(traced_in_training: bool) -> None:
    torch.manual_seed(0)
    net = timm.create_model("mobilenetv2_050", num_classes=3).train(traced_in_training)
    chosen = "blocks.3.1.conv_pw"  # reads a residual sum, so that nothing but the layer itself changes
    binary = binarize(net, "bnn", keep=lambda name, _: name != chosen)
    assert list(binary.state_dict()) == [*net.state_dict()]
    expected = copy.deepcopy(net)
    expected.set_submodule(chosen, copy.deepcopy(binary.get_submodule(chosen)))
    images = torch.randn(4, 3, 64, 64)
    for _ in range(2):
        torch.testing.assert_close(binary.train()(images), expected.train()(images))
    before = copy.deepcopy(binary.state_dict())
    torch.testing.assert_close(binary.eval()(images), expected.eval()(images))
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(binary.state_dict()[name], tensor)
        assert torch.equal(before[name], binary.state_dict()[name])


def test_random_depth_is_random_in_training_alone() -> None:
    torch.manual_seed(0)
    depth = torchvision.ops.StochasticDepth(0.5, "row")
    net = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), depth, nn.Conv2d(3, 4, 3, bias=False))
    binary = binarize(net, "bnn", keep=[])
    images = torch.randn(64, 3, 5, 5)
    seen: list[Tensor] = []
    binary.get_submodule("3").register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    binary(images)
    dropped = (seen[0] == 0).flatten(1).all(1)
    assert 10 < int(dropped.sum()) < 54
    assert (seen[0] < 0).any()  # the ReLU is skipped, the depth is not
    binary.eval()(images)
    with torch.no_grad():
        assert torch.equal(seen[1], binary.get_submodule("0")(images))


@pytest.mark.parametrize(
    ("build", "keep", "message"),
    [
        (
            lambda: torchvision.models.googlenet(init_weights=False),
            ["conv1*"],
            r"in training and in evaluation.*'aux1'",
        ),
        (lambda: torchvision.models.swin_t(), ["features.0*", "head"], r"'features.1.0.attn.qkv' is called by none"),
        (lambda: nn.Sequential(nn.TransformerEncoderLayer(8, 2, 8)), ["*self_attn*"], r"torch.fx does not look into"),
        (
            lambda: torchvision.models.vit_b_32(),
            ["conv_proj", "heads*"],
            r"'encoder.layers.encoder_layer_0.self_attention.out_proj' is a NonDynamicallyQuantizableLinear",
        ),
    ],
    ids=["another graph in training", "random inside", "a layer of torch", "a subclass"],
)
def test_what_a_graph_cannot_say(build: Callable[[], nn.Module], keep: list[str], message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        binarize(build(), "bnn", keep=keep)
