"""Nets of timm as backbones: timm's own maps, real bit for bit and binary in shape, under detectors and segmenters."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from configs_for_tests import tiny_config, tiny_segmentation_config
from nets import shake
from segmenter_nets import DECODERS, KINDS
from torch import Tensor, nn

from bnn_tasks.backbones import TimmBackbone
from bnn_tasks.binary import BinaryConv2d, BinaryLinear
from bnn_tasks.cli import main
from bnn_tasks.export import export
from bnn_tasks.models import FPN, FasterRCNN, RetinaNet, RetinaNetHead, RPNHead, Segmenter, TwoLayerBoxHead
from bnn_tasks.runtime import Resize, Session

NETS = ["test_resnet", "test_byobnet", "test_efficientnet", "test_convnext"]
SIZE = (64, 96)
# Of test_byobnet: first convolution, shortcuts, attention, and the convolution that reads a product of ReLU and sigmoid.
BYOB_KEEP = ["stem*", "*shortcut*", "*attn*", "stages_0.0.conv2_1x1.conv"]


def binary_names(net: nn.Module) -> set[str]:
    return {name for name, m in net.named_modules() if isinstance(m, BinaryConv2d | BinaryLinear)}


@pytest.mark.parametrize("indices", [None, (1, 2)], ids=str)
@pytest.mark.parametrize("name", NETS)
def test_the_real_twins_maps_are_timms_bit_for_bit(name: str, indices: tuple[int, ...] | None) -> None:
    torch.manual_seed(0)
    ours = TimmBackbone(name, None, out_indices=indices)
    theirs: Any = timm.create_model(name, features_only=True, **({} if indices is None else {"out_indices": indices}))
    assert ours.feature_info.channels() == theirs.feature_info.channels()
    assert ours.feature_info.reduction() == theirs.feature_info.reduction()
    needed = ours.net.state_dict()
    ours.net.load_state_dict({key: value for key, value in theirs.state_dict().items() if key in needed})
    for mode in (True, False):  # training first: it moves the statistics
        ours.train(mode)
        theirs.train(mode)
        for size in ((64, 64), (45, 70)):
            x = torch.randn(2, 3, *size)
            for found, expected in zip(ours(x), theirs(x), strict=True):
                assert torch.equal(found, expected)
    assert not binary_names(ours)


@pytest.mark.parametrize("name", NETS)
def test_binary_maps_are_as_feature_info_says_and_train(name: str) -> None:
    torch.manual_seed(0)
    keep = BYOB_KEEP if name == "test_byobnet" else None
    net = TimmBackbone(name, "react", keep, out_indices=[1, 2, 3])
    maps = net(torch.randn(4, 3, *SIZE))
    shapes = [
        (4, c, SIZE[0] // r, SIZE[1] // r) for c, r in zip(net.feature_info.channels(), net.feature_info.reduction())
    ]
    assert [tuple(m.shape) for m in maps] == shapes
    sum(m.square().sum() for m in maps).backward()
    assert [key for key, parameter in net.named_parameters() if parameter.grad is None] == []
    real = set(TimmBackbone(name, None, out_indices=[1, 2, 3]).state_dict())
    assert real <= set(net.state_dict()), "the twins share their names"
    other = TimmBackbone(name, "react", keep, out_indices=[1, 2, 3])
    other.load_state_dict(net.state_dict())
    x = torch.randn(1, 3, *SIZE)
    for found, expected in zip(other.eval()(x), net.eval()(x)):
        assert torch.equal(found, expected)


def test_what_stays_real() -> None:
    net = TimmBackbone("resnet18", "bireal", out_indices=[2, 3, 4])
    convolutions = {f"net.layer{s}.{b}.conv{c}" for s in (1, 2, 3, 4) for b in (0, 1) for c in (1, 2)}
    assert binary_names(net) == convolutions
    assert {m.method_name for m in net.modules() if isinstance(m, BinaryConv2d)} == {"bireal"}
    kept = TimmBackbone("resnet18", "bireal", ["conv1", "*downsample*", "layer4.*"], out_indices=[2, 3, 4])
    assert binary_names(kept) == {name for name in convolutions if "layer4" not in name}


def test_stages_after_the_last_map_are_left_out() -> None:
    assert not [k for k in TimmBackbone("resnet18", None, out_indices=[1, 2]).state_dict() if "layer3" in k]
    efficient = TimmBackbone("test_efficientnet", None, out_indices=[0, 1]).state_dict()
    assert not [k for k in efficient if k.startswith("net.blocks.2")]


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_an_output_stride_dilates(stride: int) -> None:
    net = TimmBackbone("resnet18", "bireal", out_indices=[2, 3, 4], output_stride=stride)
    assert net.feature_info.reduction() == [min(r, stride) for r in (8, 16, 32)]
    assert [m.shape[-1] for m in net.eval()(torch.randn(1, 3, 64, 64))] == [64 // min(r, stride) for r in (8, 16, 32)]


def test_images_of_one_channel() -> None:
    net = TimmBackbone("test_resnet", "bireal", in_channels=1)
    assert net.net.get_submodule("conv1.0").in_channels == 1
    assert net.eval()(torch.randn(1, 1, 64, 64))[0].shape == (1, 32, 32, 32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "ResNet_18"}, r"one of timm\.list_models\(\), but got 'ResNet_18'\. Nearest: 'resnet18'"),
        ({"name": "inception_v3"}, r"maps of shapes \[\(1, 64, 64, 64\).* 'inception_v3' gives \[\(1, 64, 61, 61\)"),
        ({"name": "xception41"}, r"'xception41' gives \[\]\. Cure: .* without hooks"),
        ({"name": "test_vit"}, r"test_vit: Expected a module that torch\.fx can trace"),
        ({"out_indices": [3, 5]}, r"increasing numbers from 0 to 4, the maps of 'test_resnet', but got \[3, 5\]"),
        ({"out_indices": [-1]}, r"increasing numbers from 0 to 4, .* but got \[-1\]"),
        ({"out_indices": [3, 2]}, r"increasing numbers from 0 to 4, .* but got \[3, 2\]"),
        ({"out_indices": []}, "increasing numbers from 0 to 4"),
        (
            {"output_stride": 12},
            r"`out_indices` None and `output_stride` 12 to be .* 'test_resnet' refuses: AssertionError",
        ),
        (
            {"name": "densenet121", "output_stride": 16},
            "`output_stride` 16 to be .* unexpected keyword .*output_stride",
        ),
        ({"in_channels": 0}, "`in_channels` to be >= 1, but got 0"),
        ({"keep": ["stem"]}, "'stem' matches none"),
        ({"method": "best"}, "`method` to be one of"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TimmBackbone(**{"name": "test_resnet", "method": "bireal", **arguments})


def test_a_net_without_feature_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, **arguments: Any) -> nn.Module:
        assert arguments["features_only"]
        raise RuntimeError("features_only not implemented")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(
        ValueError, match=r"net that gives feature maps, but timm's 'test_vit' refuses: .*not implemented"
    ):
        TimmBackbone("test_vit", "bireal")


def test_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def offline(name: str, pretrained: bool = False, **arguments: Any) -> nn.Module:
        if pretrained:
            raise OSError("no route to host")
        return create(name, **arguments)

    monkeypatch.setattr(timm, "create_model", offline)
    message = r"pretrained weights of 'test_resnet' .*no route to host.*Cure: pretrained=False"
    with pytest.raises(ValueError, match=message):
        TimmBackbone("test_resnet", "bireal", pretrained=True)


@dataclass
class Target:
    boxes: Tensor
    labels: Tensor
    ignore: Tensor
    crowd: Tensor


def retinanet() -> RetinaNet:
    backbone = TimmBackbone("test_resnet", "react", out_indices=[2, 3, 4])
    return RetinaNet(2, backbone, partial(FPN, channels=8), partial(RetinaNetHead, depth=1))


def faster_rcnn() -> FasterRCNN:
    backbone = TimmBackbone("regnetx_002", "react", out_indices=[1, 2, 3])
    return FasterRCNN(2, backbone, partial(FPN, channels=8), RPNHead, partial(TwoLayerBoxHead, width=16))


def segmenter(decoder: str) -> Segmenter:
    backbone = TimmBackbone("resnet18", "react", out_indices=[1, 2, 3, 4], output_stride=16)
    _, unit, join, activation = KINDS["react"]
    return Segmenter(2, backbone, DECODERS[decoder](unit, join, activation))


BUILD: dict[str, Callable[[], nn.Module]] = {"retinanet": retinanet, "faster_rcnn": faster_rcnn}
BUILD |= {decoder: partial(segmenter, decoder) for decoder in ("fcn8s", "deeplabv3plus", "pyramid", "skip")}


def leaves(value: object) -> list:
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in leaves(value[key])]
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, list | tuple) else [value]


@pytest.mark.parametrize("name", BUILD)
def test_a_net_on_it_trains_and_is_exported(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net: Any = BUILD[name]()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    images = torch.rand(2, 3, *SIZE)
    target: Any = torch.zeros(2, *SIZE, dtype=torch.int64)
    if not isinstance(net, Segmenter):
        no = torch.zeros(1, dtype=torch.bool)
        target = [Target(torch.tensor([[8.0, 8.0, 48.0, 40.0]]), torch.zeros(1, dtype=torch.int64), no, no)] * 2
    before = [layer.weight.detach().clone() for layer in net.backbone.modules() if isinstance(layer, BinaryConv2d)]
    losses = net.loss(net(images), target)
    torch.stack(list(losses.values())).sum().backward()
    optimizer.step()
    after = [layer.weight for layer in net.backbone.modules() if isinstance(layer, BinaryConv2d)]
    assert before
    assert all(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    shake(net.eval())
    path = tmp_path / "net.safetensors"
    report = export(net, path, example=images, classes=["a", "b"], resize=Resize((SIZE,)))
    assert report.binary_layers >= len(binary_names(net))
    if name != "faster_rcnn" and report.parity.ties == 0:  # a proposal that a rounding moves is another row
        with torch.no_grad():
            expected = leaves(net(images))
        for found, wanted in zip(leaves(Session(path).forward(images.numpy())), expected, strict=True):
            assert np.abs(found - wanted.numpy()).max() <= 1e-3 * float(wanted.std())


@pytest.mark.parametrize("tiny", [tiny_config, tiny_segmentation_config], ids=["retinanet", "fcn"])
def test_a_config_names_it(tiny: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny(tmp_path)
    config["trainer"]["max_epochs"] = 1
    arguments = {"name": "test_resnet", "method": "react", "out_indices": [2, 3, 4]}
    net = config["model"]["init_args"]["model"]["init_args"]
    net["backbone"] = {"class_path": "TimmBackbone", "init_args": arguments}
    path = tmp_path / "given.yaml"
    path.write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(path)])
    main(["validate", "--config", str(path), "--ckpt_path", "last"])
    main(["export", str(tmp_path / "checkpoints" / "last.ckpt"), "--out", str(tmp_path / "net.safetensors")])
    assert "0 differ" in capsys.readouterr().out
    arguments["method"] = None
    path.write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(path), "--trainer.fast_dev_run", "true"])
