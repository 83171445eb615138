"""Float checkpoints into backbones of every block: each tensor arrives, nothing else does."""

import os
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from bnn_tasks.backbones import BLOCKS, ResNet, load_float_checkpoint, load_float_state_dict
from bnn_tasks.binary import BinaryConv2d, get_method, list_methods


def randomised(net: nn.Module) -> dict[str, Tensor]:
    """A state of recognisable values: no two tensors are equal, BatchNorm counters included."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for index, (name, tensor) in enumerate(net.state_dict().items()):
        state[name] = torch.rand(tensor.shape, generator=generator) if tensor.is_floating_point() else tensor + index
    return state


def torchvision_net(depth: int = 18, width: int = 8) -> nn.Module:
    block = torchvision.models.resnet.BasicBlock
    counts = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3]}[depth]
    net = torchvision.models.ResNet(block, counts, num_classes=5)
    if width != 64:
        shrink(net, width)
    return net


def shrink(net: nn.Module, width: int) -> None:
    """Divide every width of a torchvision or timm ResNet by 64 / `width`."""
    for module in net.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d):
                inputs = child.in_channels if child.in_channels == 3 else child.in_channels * width // 64
                outputs = child.out_channels * width // 64
                geometry = (child.kernel_size, child.stride, child.padding)
                setattr(module, name, nn.Conv2d(inputs, outputs, *geometry, bias=False))
            elif isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.BatchNorm2d(child.num_features * width // 64))


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(
    ("depth", "build"),
    [
        (18, torchvision_net),
        (34, lambda: torchvision_net(34)),
        (18, lambda: timm.create_model("resnet18", channels=(8, 16, 32, 64), stem_width=8, num_classes=5)),
    ],
    ids=["torchvision18", "torchvision34", "timm18"],
)
def test_every_tensor_arrives(depth: int, build: object, block: str) -> None:
    net = build()
    if net.conv1.out_channels != 8:
        shrink_stem(net)
    state = randomised(net)
    backbone = ResNet(depth, BLOCKS[block], 8, 7)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    report = load_float_state_dict(backbone, state)
    after = backbone.state_dict()
    assert set(report.left_out) == {"fc.weight", "fc.bias"}
    arrived = sorted((tuple(after[n].shape), float(after[n].double().sum())) for n in report.loaded)
    sent = sorted((tuple(t.shape), float(t.double().sum())) for n, t in state.items() if not n.startswith("fc."))
    assert arrived == sent
    assert set(report.loaded) | set(report.fresh) == set(after)
    assert not set(report.loaded) & set(report.fresh)
    for name in report.fresh:
        assert torch.equal(after[name], before[name]), name
    if block in ("real", "plain", "bireal"):
        assert report.fresh == []
    assert f"loaded {len(report.loaded)} tensors" in str(report)


def shrink_stem(net: nn.Module) -> None:
    """timm's `channels` leaves the stem at 64."""
    net.conv1, net.bn1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8)
    net.layer1[0].conv1, net.layer1[0].downsample = nn.Conv2d(8, 8, 3, 1, 1, bias=False), None


def test_tensors_land_where_they_belong() -> None:
    """Stage by stage against torchvision's own forward, up to where the shortcuts differ (stride 2)."""
    net = torchvision_net().eval()
    net.load_state_dict({k: v * 0.2 if "conv" in k else v for k, v in randomised(net).items()})
    backbone = ResNet(18, BLOCKS["real"], 8, 7, (0, 1, 2, 3, 4)).eval()
    load_float_state_dict(backbone, net.state_dict())
    x = torch.randn(1, 3, 64, 64)
    stem = net.relu(net.bn1(net.conv1(x)))
    found = backbone(x)
    torch.testing.assert_close(found[0], stem)
    torch.testing.assert_close(found[1], net.layer1(net.maxpool(stem)))
    for stage in (2, 3, 4):
        first, ours = getattr(net, f"layer{stage}")[0], getattr(backbone, f"layer{stage}")[0]
        x = torch.randn(1, first.conv1.in_channels, 8, 8)
        first.downsample[0].stride = (1, 1)
        pooled = first.relu(first.bn2(first.conv2(first.relu(first.bn1(first.conv1(x))))))
        assert pooled.shape == ours(x).shape
        smoothed = first.downsample(nn.functional.avg_pool2d(x, 2))
        expected = first.bn2(first.conv2(first.relu(first.bn1(first.conv1(x))))) + smoothed
        torch.testing.assert_close(ours(x), first.relu(expected))
        second, our_second = getattr(net, f"layer{stage}")[1], getattr(backbone, f"layer{stage}")[1]
        y = torch.randn(1, second.conv1.in_channels, 4, 4)
        torch.testing.assert_close(our_second(y), second(y))


def test_a_whole_classifier_is_no_backbone(tmp_path: Path) -> None:
    torch.save(torchvision_net().state_dict(), tmp_path / "net.pth")
    net = timm.create_model("bnn_resnet18", width=8, stem_kernel=7)
    with pytest.raises(TypeError, match=r"but got a ResNetClassifier. Cure: the `.backbone`"):
        load_float_checkpoint(net, tmp_path / "net.pth")
    assert load_float_checkpoint(net.backbone, tmp_path / "net.pth").left_out == ["fc.bias", "fc.weight"]


def test_float_weights_become_latent_weights() -> None:
    net = torchvision_net()
    backbone = ResNet(18, BLOCKS["react"], 8, 7)
    load_float_state_dict(backbone, net.state_dict())
    layer = backbone.layer3[1].second.conv
    assert isinstance(layer, BinaryConv2d)
    assert torch.equal(layer.weight, net.layer3[1].conv2.weight)
    assert torch.equal(layer.terms().terms[0].weight > 0, net.layer3[1].conv2.weight >= 0)


def test_the_checkpoint_is_not_aliased() -> None:
    state = torchvision_net().state_dict()
    backbone = ResNet(18, BLOCKS["real"], 8, 7)
    load_float_state_dict(backbone, state)
    nn.init.zeros_(backbone.conv1.weight)
    assert state["conv1.weight"].abs().sum() > 0


def test_batch_norm_counters_may_be_missing() -> None:
    """Checkpoints older than torch 0.4.1 have none."""
    state = {k: v for k, v in torchvision_net().state_dict().items() if not k.endswith("num_batches_tracked")}
    report = load_float_state_dict(ResNet(18, BLOCKS["real"], 8, 7), state)
    assert all(name.endswith("num_batches_tracked") for name in report.fresh)


@pytest.mark.parametrize(
    ("depth", "width", "stem_kernel", "message"),
    [
        (18, 8, 7, None),
        (34, 8, 7, "lacks"),
        (18, 4, 7, "Expected 'conv1.weight' to have shape"),
        (18, 8, 3, "Expected 'conv1.weight' to have shape .*stem_kernel"),
    ],
)
def test_another_topology_is_an_error(depth: int, width: int, stem_kernel: int, message: str | None) -> None:
    backbone = ResNet(depth, BLOCKS["react"], width, stem_kernel)
    state = torchvision_net().state_dict()
    if message is None:
        load_float_state_dict(backbone, state)
    else:
        before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
        with pytest.raises(ValueError, match=message):
            load_float_state_dict(backbone, state)
        assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


def test_a_deeper_checkpoint_is_an_error_that_names_its_tensor() -> None:
    with pytest.raises(ValueError, match=r"'layer1\.2\.conv1\.weight' has no place.*depth"):
        load_float_state_dict(ResNet(18, BLOCKS["real"], 8, 7), torchvision_net(34).state_dict())


def test_bottlenecks_are_an_error() -> None:
    state = torchvision.models.resnet50(num_classes=2).state_dict()
    with pytest.raises(ValueError, match=r"layer1"):
        load_float_state_dict(ResNet(34, BLOCKS["real"], 64, 7), state)


@pytest.mark.parametrize("name", ["bn1.weight", "layer2.0.downsample.1.running_var", "layer4.1.conv2.weight"])
def test_a_missing_tensor_is_named(name: str) -> None:
    state = torchvision_net().state_dict()
    del state[name]
    with pytest.raises(ValueError, match=r"lacks"):
        load_float_state_dict(ResNet(18, BLOCKS["react"], 8, 7), state)


def test_a_foreign_tensor_is_named() -> None:
    state = {**torchvision_net().state_dict(), "head.weight": torch.zeros(3)}
    with pytest.raises(ValueError, match=r"'head.weight' has no place"):
        load_float_state_dict(ResNet(18, BLOCKS["react"], 8, 7), state)


def test_a_wrapped_state_dict_says_how_to_unwrap_it(tmp_path: Path) -> None:
    backbone = ResNet(18, BLOCKS["real"], 8, 7)
    state = torchvision_net().state_dict()
    with pytest.raises(ValueError, match=r"Cure: state\['state_dict'\]"):
        load_float_state_dict(backbone, {"epoch": 3, "state_dict": state})
    prefixed = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save(prefixed, tmp_path / "parallel.pth")
    with pytest.raises(ValueError, match=r"parallel\.pth: .*start with 'module\.'.*name\.removeprefix\('module\.'\)"):
        load_float_checkpoint(backbone, tmp_path / "parallel.pth")


def test_a_grey_backbone_says_how_to_start_from_a_coloured_checkpoint() -> None:
    backbone = ResNet(18, BLOCKS["real"], 8, 7, in_channels=1)
    state = torchvision_net().state_dict()
    with pytest.raises(ValueError, match=r"for 1 channel\(s\), but got one for 3.*sum\(1, keepdim=True\)"):
        load_float_state_dict(backbone, state)
    colour = torch.rand(1, 1, 32, 32)
    expected = nn.functional.conv2d(colour.expand(1, 3, 32, 32), state["conv1.weight"], None, 2, 3)
    state["conv1.weight"] = state["conv1.weight"].sum(1, keepdim=True)
    load_float_state_dict(backbone, state)
    torch.testing.assert_close(backbone.conv1(colour), expected)


def test_a_deep_stem_is_named() -> None:
    state = timm.create_model("resnet18d").state_dict()
    with pytest.raises(ValueError, match=r"'conv1\.0\.weight' has no place.*of stems there is the plain one"):
        load_float_state_dict(ResNet(18, BLOCKS["real"], 64, 7), state)


def test_from_a_file(tmp_path: Path) -> None:
    net = torchvision_net()
    torch.save(net.state_dict(), tmp_path / "net.pth")
    backbone = ResNet(18, BLOCKS["real"], 8, 7)
    load_float_checkpoint(backbone, tmp_path / "net.pth")
    assert torch.equal(backbone.conv1.weight, net.conv1.weight)


class Code:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("ran",)


def test_a_file_with_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": Code()}, "evil.pth")
    with pytest.raises(ValueError, match=r"evil\.pth.*holds code \(UnpicklingError\)"):
        load_float_checkpoint(ResNet(18, BLOCKS["real"], 8, 7), "evil.pth")
    assert not Path("ran").exists()


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"epoch": 3}, {"state_dict": {"a": torch.zeros(1)}}])
def test_a_file_of_something_else_is_named(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth.*state_dict"):
        load_float_checkpoint(ResNet(18, BLOCKS["real"], 8, 7), tmp_path / "other.pth")


@pytest.mark.parametrize("method", list_methods())
def test_every_method_starts_from_float_weights(method: str) -> None:
    """Latent weights may have another shape or scale than float ones: the layer decides how it starts."""
    net = torchvision_net()
    block = BLOCKS["bireal" if get_method(method).binary_activations else "weight_only"]
    backbone = ResNet(18, partial(block, method=method), 8, 7)
    report = load_float_state_dict(backbone, net.state_dict())
    unit = backbone.layer2[0].second
    twin = BinaryConv2d(16, 16, 3, 1, 1, method=method)
    twin.load_float(net.layer2[0].conv2.weight, None)
    assert torch.equal(unit.conv.weight, twin.weight)
    assert "layer2.0.second.conv.weight" in report.loaded
