"""An artifact as victim: the torch net's logits, the same attack for the same seed, and no gradient."""

from pathlib import Path

import numpy as np
import pytest
import torch
from nets import retinanet, shake
from torch import nn

from bnn_tasks.binary import BinaryConv2d
from bnn_tasks.export import export
from bnn_tasks.robustness.attacks.hop_skip_jump import HopSkipJump
from bnn_tasks.robustness.attacks.pgd import PGD
from bnn_tasks.robustness.attacks.square import Square
from bnn_tasks.robustness.objective import CrossEntropyObjective, MarginObjective
from bnn_tasks.runtime import ArtifactError, Resize
from bnn_tasks.tasks.robustness.artifact import ArtifactModel

X = torch.rand(16, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return shake(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
            BinaryConv2d(8, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            BinaryConv2d(8, 8, 3, 2, padding=1),
            nn.BatchNorm2d(8),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 4),
        )
    )


@pytest.fixture(scope="module")
def net() -> nn.Sequential:
    return small_net()


@pytest.fixture(scope="module")
def model(net: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> ArtifactModel:
    path = tmp_path_factory.mktemp("artifact") / "net.safetensors"
    export(net, path, example=X[:2])
    return ArtifactModel(path)


def test_the_logits_are_the_nets(net: nn.Module, model: ArtifactModel) -> None:
    with torch.no_grad():
        expected = net(X)
    logits = model(X)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    flipped = X.flip(3)  # a view with strides of its own
    torch.testing.assert_close(model(flipped), net(flipped).detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_square_is_the_same_on_both(norm: str, net: nn.Module, model: ArtifactModel) -> None:
    labels, eps = net(X).argmax(1), {"linf": 0.04, "l2": 0.6}[norm]
    attack = Square(queries=40, norm=norm)
    on_torch, on_runtime = (
        attack(MarginObjective(victim, labels), X, eps, torch.Generator().manual_seed(1)) for victim in (net, model)
    )
    assert 0 < on_torch.broken.sum() < len(X)
    assert torch.equal(on_torch.broken, on_runtime.broken)
    assert torch.equal(on_torch.queries, on_runtime.queries)
    # a bit at a rounding tie may be another: no more than that
    assert (on_torch.images != on_runtime.images).flatten(1).any(1).float().mean() <= 1 / len(X)


def test_hop_skip_jump_runs_on_the_runtime(net: nn.Module, model: ArtifactModel) -> None:
    labels = net(X).argmax(1)[:4]
    attack = HopSkipJump(steps=2, evaluations=10)
    lost, distances = attack.smallest(MarginObjective(model, labels), X[:4], torch.Generator().manual_seed(0))
    assert distances.isfinite().all()
    assert (model(lost).argmax(1) != labels).all()
    torch.testing.assert_close((lost - X[:4]).flatten(1).norm(dim=1), distances)


def test_a_gradient_is_refused(net: nn.Module, model: ArtifactModel) -> None:
    labels = net(X).argmax(1)
    with pytest.raises(TypeError, match=r"net\.safetensors: .*no gradient.*Square, HopSkipJump.*Transfer"):
        PGD(steps=1)(CrossEntropyObjective(model, labels), X, 0.03, torch.Generator())
    with pytest.raises(TypeError, match="no gradient"):
        model(X.clone().requires_grad_())
    with torch.no_grad():
        assert model(X.clone().requires_grad_()).shape == (16, 4)


def test_a_detectors_outputs_are_nested(tmp_path: Path) -> None:
    net = shake(retinanet())
    x = torch.rand(2, 3, 32, 32)
    export(net, tmp_path / "net.safetensors", example=x, classes=list("abc"), resize=Resize(((32, 32),), "letterbox"))
    model = ArtifactModel(tmp_path / "net.safetensors", threads=1)
    assert model.classes == ("a", "b", "c")
    with torch.no_grad():
        expected = net(x)
    found = model(x)
    assert found.keys() == expected.keys()
    for name, maps in expected.items():
        for one, other in zip(maps, found[name], strict=True):
            assert one.shape == other.shape
            # signs at rounding ties may differ end to end
            assert float((one - other).abs().median()) < 1e-3


def test_what_is_refused(model: ArtifactModel, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"floating-point `images`.*uint8.*/ 255"):
        model((X * 255).byte())
    with pytest.raises(ValueError, match=r"\(N, 3, H, W\)"):
        model(X[:, :1])
    (tmp_path / "broken.safetensors").write_bytes(np.arange(30, dtype=np.uint8).tobytes())
    with pytest.raises(ArtifactError, match=r"broken\.safetensors"):
        ArtifactModel(tmp_path / "broken.safetensors")
