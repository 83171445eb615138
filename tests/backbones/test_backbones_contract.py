"""timm's contract, for every backbone, block and awkward size."""

import math
from collections.abc import Callable

import pytest
import timm
import torch
from torch import nn

from bnn_tasks.backbones import (
    BLOCKS,
    BOTTLENECKS,
    BiRealBlock,
    CifarResNet,
    PlainBlock,
    ReActBlock,
    RealBlock,
    ResNet,
    list_backbones,
)
from bnn_tasks.binary import BinaryConv2d, get_method, list_methods

SIZES = [(33, 47), (97, 61), (64, 64), (1, 1)]
CIFAR = ["bnn_resnet20", "bnn_resnet32", "bnn_resnet44", "bnn_resnet56"]
PAIRS = [(name, block) for name in list_backbones() for block in (BOTTLENECKS if name == "bnn_resnet50" else BLOCKS)]


def test_backbones_are_known_to_timm() -> None:
    assert set(list_backbones()) == {"bnn_resnet18", "bnn_resnet34", "bnn_resnet50", *CIFAR}
    assert set(list_backbones()) <= set(timm.list_models())


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("name", "block"), PAIRS)
def test_maps_are_as_feature_info_says(name: str, block: str, size: tuple[int, int]) -> None:
    net = timm.create_model(name, features_only=True, block=block, width=2).eval()
    x = torch.randn(2, 3, *size)
    maps = net(x)
    info = net.feature_info
    expansion = 4 if name == "bnn_resnet50" else 1
    assert info.reduction() == ([1, 2, 4] if name in CIFAR else [2, 4, 8, 16, 32])
    channels = [2, 4, 8] if name in CIFAR else [2, *(expansion * c for c in (2, 4, 8, 16))]
    assert [m.shape[1] for m in maps] == info.channels() == channels
    sizes = [tuple(math.ceil(side / reduction) for side in size) for reduction in info.reduction()]
    assert [tuple(m.shape[2:]) for m in maps] == sizes


@pytest.mark.parametrize("indices", [(4,), (2, 3, 4), (0, 4)])
def test_out_indices_choose_the_maps(indices: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    net = timm.create_model("bnn_resnet18", features_only=True, out_indices=indices, width=2).eval()
    torch.manual_seed(0)
    every = timm.create_model("bnn_resnet18", features_only=True, width=2).eval()
    x = torch.randn(1, 3, 40, 40)
    assert net.feature_info.channels() == [every.feature_info.channels()[i] for i in indices]
    assert net.feature_info.reduction() == [every.feature_info.reduction()[i] for i in indices]
    for found, index in zip(net(x), indices, strict=True):
        assert torch.equal(found, every(x)[index])


def check_gradients(net: nn.Module, x: torch.Tensor) -> None:
    sum(m.square().sum() for m in net(x)).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, f"no gradient for {name}"
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, f"dead gradient of {name}"


@pytest.mark.parametrize(("name", "block"), PAIRS)
def test_every_parameter_has_a_gradient(name: str, block: str) -> None:
    torch.manual_seed(0)
    net = timm.create_model(name, features_only=True, block=block, width=4)
    check_gradients(net, torch.randn(4, 3, 16, 16) if name in CIFAR else torch.randn(4, 3, 64, 64))


@pytest.mark.parametrize("stem_kernel", [1, 3, 7])
def test_every_stem_has_a_gradient(stem_kernel: int) -> None:
    torch.manual_seed(0)
    net = timm.create_model("bnn_resnet18", features_only=True, width=4, stem_kernel=stem_kernel)
    check_gradients(net, torch.randn(4, 3, 64, 64))


@pytest.mark.parametrize(("name", "block"), PAIRS)
def test_same_seed_same_net_same_maps(name: str, block: str) -> None:
    maps = []
    for _ in range(2):
        torch.manual_seed(3)
        net = timm.create_model(name, features_only=True, block=block, width=2)
        maps.append(net(torch.randn(2, 3, 24, 24)))
    for first, second in zip(*maps, strict=True):
        assert torch.equal(first, second)


BINARY = [method for method in list_methods() if get_method(method).binary_activations]
WEIGHT_ONLY = [method for method in list_methods() if method not in BINARY]


@pytest.mark.parametrize("method", BINARY)
@pytest.mark.parametrize("block", [b for b in BLOCKS if BLOCKS[b].signed_input])
def test_a_method_goes_into_every_binary_convolution(block: str, method: str) -> None:
    net = timm.create_model("bnn_resnet18", features_only=True, block=block, method=method, width=4)
    layers = [m for m in net.modules() if isinstance(m, BinaryConv2d)]
    assert len(layers) == 16
    assert {layer.method_name for layer in layers} == {method}


@pytest.mark.parametrize("method", WEIGHT_ONLY)
def test_a_weight_only_method_goes_into_its_block(method: str) -> None:
    net = timm.create_model("bnn_resnet18", features_only=True, block="weight_only", method=method, width=4)
    layers = [m for m in net.modules() if isinstance(m, BinaryConv2d)]
    assert len(layers) == 16
    assert {layer.method_name for layer in layers} == {method}


@pytest.mark.parametrize("method", WEIGHT_ONLY)
@pytest.mark.parametrize("block", [*(BLOCKS[b] for b in BLOCKS if BLOCKS[b].signed_input), BOTTLENECKS["react"]])
def test_a_block_of_signs_refuses_a_weight_only_method(block: type, method: str) -> None:
    with pytest.raises(ValueError, match=f"binarise activations, but got '{method}'.*Cure: WeightOnlyBlock"):
        block(4, 4, method=method)


@pytest.mark.parametrize("method", ["bnn", "react"])
def test_a_block_of_relus_refuses_signs(method: str) -> None:
    with pytest.raises(ValueError, match=f"binarise weights only, but got '{method}'.*ReActBlock"):
        BLOCKS["weight_only"](4, 4, method=method)


def test_without_a_method_the_block_has_its_own() -> None:
    own = {"plain": "xnor", "bireal": "bireal", "react": "react", "prelu": "bireal", "clipped": "ir_net"}
    own |= {"local": "react", "maxout": "adabin", "gated": "bbg", "weight_only": "bwn"}
    assert own.keys() == BLOCKS.keys() - {"real"}
    for block, method in own.items():
        net = timm.create_model("bnn_resnet18", features_only=True, block=block, width=2)
        assert {m.method_name for m in net.modules() if isinstance(m, BinaryConv2d)} == {method}
    net = timm.create_model("bnn_resnet18", features_only=True, block="real", width=2)
    assert not [m for m in net.modules() if isinstance(m, BinaryConv2d)]


@pytest.mark.parametrize(
    "net",
    [
        *(
            pytest.param(lambda b=b: ResNet(18, BLOCKS[b], 4, 3), id=f"resnet18-{b}")
            for b in BLOCKS
            if b != "weight_only"
        ),
        *(pytest.param(lambda b=b: ResNet(50, BOTTLENECKS[b], 4, 3), id=f"resnet50-{b}") for b in BOTTLENECKS),
        *(
            pytest.param(lambda b=b: CifarResNet(8, BLOCKS[b], 4), id=f"cifar-{b}")
            for b in BLOCKS
            if b != "weight_only"
        ),
    ],
)
def test_no_sign_sees_an_input_of_one_sign(net: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    net = net()
    one_signed = []

    def look(name: str) -> object:
        def hook(module: nn.Module, args: tuple[torch.Tensor]) -> None:
            if not ((args[0] < 0).any() and (args[0] > 0).any()):
                one_signed.append(name)

        return hook

    for name, module in net.named_modules():
        if isinstance(module, BinaryConv2d):
            module.register_forward_pre_hook(look(name))
    net(torch.randn(2, 3, 64, 64))
    assert one_signed == []


@pytest.mark.parametrize("block", [BiRealBlock, ReActBlock])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_real_path_goes_around_every_binary_convolution(block: type, stride: int) -> None:
    torch.manual_seed(0)
    net = block(4, 4 * stride, stride).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and module not in [m.bn for m in net.modules() if hasattr(m, "pool")]:
            nn.init.zeros_(module.weight)  # silences the binary convolutions
    x = torch.randn(1, 4, 9, 9)
    expected = net.first.shortcut(x)
    if block is ReActBlock:  # the slope of a fresh PReLU is 0.25, twice
        expected = torch.where(expected >= 0, expected, expected / 16)
    torch.testing.assert_close(net(x), expected)


def test_the_plain_block_has_one_shortcut() -> None:
    net = PlainBlock(4, 4).eval()
    nn.init.zeros_(net.second.bn.weight)
    x = torch.randn(1, 4, 5, 5)
    assert torch.equal(net(x), x.clamp(-1, 1))


def test_the_real_block_is_torchvisions() -> None:
    from torchvision.models.resnet import BasicBlock

    torch.manual_seed(0)
    ours, theirs = RealBlock(4, 4).eval(), BasicBlock(4, 4).eval()
    names = {f"{source}.": f"{target}." for source, target in RealBlock.float_names.items()}
    state = {}
    for name, tensor in theirs.state_dict().items():
        prefix = next(p for p in names if name.startswith(p))
        state[names[prefix] + name[len(prefix) :]] = torch.rand_like(tensor.float()) if tensor.dim() else tensor
        theirs.state_dict()[name].copy_(state[names[prefix] + name[len(prefix) :]])
    ours.load_state_dict(state)
    x = torch.randn(2, 4, 7, 7)
    torch.testing.assert_close(ours(x), theirs(x))


def test_classifier_surface() -> None:
    net = timm.create_model("bnn_resnet18", num_classes=7, width=2)
    x = torch.randn(2, 3, 64, 64)
    net.eval()
    assert net(x).shape == (2, 7)
    assert net.num_features == 16
    features = net.forward_features(x)
    assert features.shape == (2, 16, 2, 2)
    torch.testing.assert_close(net.forward_head(features, pre_logits=True), features.mean((2, 3)))
    torch.testing.assert_close(net.forward_head(features), net(x))
    assert net.get_classifier().out_features == 7
    net.reset_classifier(3)
    assert net.num_classes == 3
    assert net(x).shape == (2, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"pretrained": True}, ValueError, "Expected `pretrained` to be False.*load_float_checkpoint"),
        ({"blok": "react"}, TypeError, r"Expected no other arguments than .*, but got \['blok'\]"),
        (
            {"block": "best"},
            ValueError,
            r"Expected `block` to be one of \['bireal', .*\], but got 'best'",
        ),
        ({"method": "best"}, ValueError, "Expected `method` to be one of"),
        ({"width": 0}, ValueError, "Expected `width` to be >= 1, but got 0"),
        ({"stem_kernel": 4}, ValueError, "Expected `stem_kernel` to be odd"),
        ({"features_only": True, "out_indices": (4, 2)}, ValueError, "Expected `out_indices`"),
        ({"features_only": True, "out_indices": (1, 5)}, ValueError, "Expected `out_indices`"),
        ({"features_only": True, "out_indices": ()}, ValueError, "Expected `out_indices`"),
    ],
)
def test_bad_arguments(arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        timm.create_model("bnn_resnet18", **{"width": 2, **arguments})


def test_bad_depth() -> None:
    with pytest.raises(ValueError, match=r"Expected `depth` to be one of \[18, 34, 50\], but got 101"):
        ResNet(101)


@pytest.mark.parametrize(("depth", "block"), [(50, ReActBlock), (18, BOTTLENECKS["react"])])
def test_a_block_of_the_other_kind(depth: int, block: type) -> None:
    with pytest.raises(ValueError, match=f"for depth {depth}, but got {block.__name__}"):
        ResNet(depth, block, 4, 3)


def test_a_real_block_has_no_method() -> None:
    with pytest.raises((TypeError, ValueError), match=r"method"):
        timm.create_model("bnn_resnet18", block="real", method="xnor", width=2)


def test_no_classes_is_pooled_features() -> None:
    net = timm.create_model("bnn_resnet18", num_classes=0, width=4).eval()
    assert net(torch.rand(1, 3, 32, 32)).shape == (1, 32)


def test_a_real_block_takes_no_method() -> None:
    with pytest.raises(ValueError, match="no `method` for the real block"):
        timm.create_model("bnn_resnet18", block="real", method="react")
