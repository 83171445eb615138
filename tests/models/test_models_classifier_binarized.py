"""Networks of timm and torchvision, binarised, as classifiers."""

import re

import pytest
import timm
import torch
import torchvision
from torch import nn

from bnn_tasks.binary import BinaryConv2d, BinaryLinear
from bnn_tasks.models import BinarizedClassifier, BinarizedTimm, BinarizedTorchvision, ImageClassifier
from bnn_tasks.models.classifier_binarized import torchvision_net

KEEP = ["conv1", "fc", "*downsample*"]


@pytest.mark.parametrize("build", [BinarizedTimm, BinarizedTorchvision])
def test_a_resnet_by_name(build: type[BinarizedClassifier]) -> None:
    torch.manual_seed(0)
    net = build(3, "resnet18", "bireal", KEEP, label_smoothing=0.1)
    assert isinstance(net, ImageClassifier)
    binary = [m for m in net.modules() if isinstance(m, BinaryConv2d | BinaryLinear)]
    assert len(binary) == 16
    assert {m.method_name for m in binary} == {"bireal"}
    logits = net(torch.rand(4, 3, 32, 32))
    assert logits.shape == (4, 3)
    net.loss(logits, torch.tensor([0, 1, 2, 0]))["cross_entropy"].backward()
    assert all(p.grad is not None for p in net.parameters())
    assert [node.op for node in net.export_graph()] == ["softmax"]


def test_images_are_normalised_first() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 1)
            self.fc = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.conv(x).mean((2, 3)))

    float_net = Last()
    before = float_net.conv.weight.detach().clone()
    net = BinarizedClassifier(2, float_net, "bnn", ["fc"], mean=(0.2, 0.3, 0.4), std=(0.5, 0.6, 0.7)).eval()
    images = torch.rand(2, 3, 4, 4)
    x = (images - torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)) / torch.tensor([0.5, 0.6, 0.7]).view(3, 1, 1)
    signs = torch.where(x >= 0, 1.0, -1.0), torch.where(before >= 0, 1.0, -1.0)
    y = nn.functional.conv2d(*signs, float_net.conv.bias)
    torch.testing.assert_close(net(images), float_net.fc(y.mean((2, 3))))
    assert torch.equal(float_net.conv.weight, before)


@pytest.mark.parametrize("build", [BinarizedTimm, BinarizedTorchvision])
def test_an_unknown_name(build: type[BinarizedClassifier]) -> None:
    message = r"Expected `name` to be one of .*list_models.*but got 'ResNet_18'. Nearest: 'resnet18'"
    with pytest.raises(ValueError, match=message):
        build(3, "ResNet_18", "bireal", KEEP)


@pytest.mark.parametrize("build", [BinarizedTimm, BinarizedTorchvision])
def test_spatially_tied_methods_need_an_input_size(build: type[BinarizedClassifier]) -> None:
    with pytest.raises(ValueError, match=r"Expected `input_size` .*layer1\.0\.conv1.* Cure: input_size=\(H, W\)"):
        build(3, "resnet18", "xnor_pp_separable", KEEP)
    net = build(3, "resnet18", "xnor_pp_separable", KEEP, input_size=(32, 64))
    assert net(torch.rand(2, 3, 32, 64)).shape == (2, 3)


def test_torchvisions_detectors_are_no_classifiers() -> None:
    with pytest.raises(ValueError, match="but got 'fasterrcnn_resnet50_fpn'"):
        BinarizedTorchvision(3, "fasterrcnn_resnet50_fpn", "bireal", KEEP)


def test_a_pattern_that_matches_nothing() -> None:
    with pytest.raises(ValueError, match="'stem' matches none"):
        BinarizedTorchvision(3, "resnet18", "bireal", ["stem"])


def refuse(*arguments: object, **options: object) -> None:
    raise OSError("no route to host")


def test_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.models._api.WeightsEnum, "get_state_dict", refuse)
    with pytest.raises(
        ValueError, match=r"pretrained weights of 'resnet18' .*no route to host.*Cure: pretrained=False"
    ):
        BinarizedTorchvision(3, "resnet18", "bireal", KEEP, pretrained=True)
    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(
        ValueError, match=r"pretrained weights of 'resnet18' .*no route to host.*Cure: pretrained=False"
    ):
        BinarizedTimm(3, "resnet18", "bireal", KEEP, pretrained=True)


def test_pretrained_weights_arrive_all_but_the_classifiers(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    published = torchvision.models.resnet18().state_dict()
    monkeypatch.setattr(torchvision.models._api.WeightsEnum, "get_state_dict", lambda *a, **k: published)
    net = BinarizedTorchvision(3, "resnet18", "bireal", KEEP, pretrained=True)
    assert torch.equal(net.net.state_dict()["layer4.1.conv2.weight"], published["layer4.1.conv2.weight"])
    assert torch.equal(net.net.conv1.weight, published["conv1.weight"])
    assert net.net.fc.weight.shape == (3, 512)


def test_old_names_of_published_weights_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of DenseNets say norm.1 and conv.2, which torchvision's builder reads as norm1 and conv2."""
    torch.manual_seed(0)
    published = {k: v for k, v in torchvision.models.densenet121().state_dict().items() if "num_batches" not in k}
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", name): tensor for name, tensor in published.items()}
    assert old.keys() != published.keys()
    monkeypatch.setattr(torchvision.models._api.WeightsEnum, "get_state_dict", lambda *a, **k: dict(old))
    net = torchvision_net("densenet121", 3, pretrained=True).state_dict()
    assert all(torch.equal(net[name], tensor) for name, tensor in published.items() if "classifier" not in name)
    assert net["classifier.weight"].shape == (3, 1024)


@pytest.mark.filterwarnings("error::FutureWarning")
@pytest.mark.parametrize(("name", "size"), [("googlenet", 32), ("inception_v3", 75)])
def test_auxiliary_heads_are_left_out(monkeypatch: pytest.MonkeyPatch, name: str, size: int) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(nn.init, "trunc_normal_", lambda tensor, *a, **k: tensor)  # slow
    published = torchvision.models.get_model(name, init_weights=True).state_dict()
    monkeypatch.setattr(torchvision.models._api.WeightsEnum, "get_state_dict", lambda *a, **k: published)
    net = BinarizedTorchvision(3, name, "bireal", ["fc", "*branch*"], pretrained=True)
    state = net.net.state_dict()
    assert "fc.weight" in state
    assert not any("aux" in key.lower() for key in state)
    real = [key for key in state if "branch" in key]
    assert len(real) > 100
    assert all(torch.equal(state[key], published[key]) for key in real)
    net.train()
    assert net(torch.rand(2, 3, size, size)).shape == (2, 3)
