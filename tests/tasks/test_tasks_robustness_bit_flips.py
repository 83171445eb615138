"""Bit flips: a flipped bit is a negated weight, nothing else; the search finds what hurts, and leaves the net alone."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import shake
from torch import nn

from bnn_tasks.binary import BinaryConv2d, BinaryLinear, set_progress
from bnn_tasks.export import export
from bnn_tasks.robustness.objective import CrossEntropyObjective
from bnn_tasks.runtime import ArtifactError, Session
from bnn_tasks.tasks.robustness.artifact import ArtifactModel
from bnn_tasks.tasks.robustness.bit_flips import Bit, PackedBits, flip_curve
from bnn_tasks.tasks.robustness.bit_search import ProgressiveBitSearch, flippable

X = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 4


def small_net(method: str = "react") -> nn.Sequential:
    """Two binary convolutions, the first behind a fold, and a binary linear layer: 54·4 + 8·27 + 4·8 weights."""
    torch.manual_seed(0)
    relu = [nn.ReLU()] if method == "bwn" else []
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1),
        nn.BatchNorm2d(6),
        *relu,
        BinaryConv2d(6, 4, 3, padding=1, method=method),
        nn.BatchNorm2d(4),
        *relu,
        BinaryConv2d(4, 9, 3, padding=1, groups=1, bias=True, method=method),
        nn.BatchNorm2d(9),
        *relu,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        BinaryLinear(9, 4, method=method),
    )
    set_progress(net, 1.0)
    return shake(net)


def binary_layers(net: nn.Module) -> dict[str, BinaryConv2d | BinaryLinear]:
    return {name: m for name, m in net.named_modules() if isinstance(m, BinaryConv2d | BinaryLinear)}


def exported(net: nn.Module, path: Path) -> PackedBits:
    export(net, path, example=X[:2])
    return PackedBits(path)


def test_the_weights_of_an_artifact(tmp_path: Path) -> None:
    net = small_net()
    packed = exported(net, tmp_path / "net.safetensors")
    layers = binary_layers(net)
    assert packed.shapes == {f"{name}.weight": layer.weight.flatten(1).shape for name, layer in layers.items()}
    assert packed.total == sum(layer.weight.numel() for layer in layers.values())
    for name, layer in layers.items():
        assert np.array_equal(packed.signs(f"{name}.weight"), np.where(layer.weight.detach().flatten(1) >= 0, 1, -1))


@pytest.mark.parametrize("layer", list(binary_layers(small_net())))
def test_a_flipped_bit_is_a_negated_weight(layer: str, tmp_path: Path) -> None:
    net = small_net()
    packed = exported(net, tmp_path / "net.safetensors")
    rows, places = packed.shapes[f"{layer}.weight"]
    before = Session(tmp_path / "net.safetensors").forward(X.numpy())
    changed = 0
    for row, place in [(0, 0), (rows - 1, places - 1), (1, 7), (1, 8), (rows // 2, places // 2)]:
        negated = copy.deepcopy(net)
        negated.get_submodule(layer).weight.data.flatten(1)[row, place] *= -1
        export(negated, tmp_path / "negated.safetensors", example=X[:2])
        packed.write(tmp_path / "flipped.safetensors", [Bit(f"{layer}.weight", row, place)])
        assert (tmp_path / "flipped.safetensors").read_bytes() == (tmp_path / "negated.safetensors").read_bytes()
        logits = ArtifactModel(tmp_path / "flipped.safetensors")(X)
        assert torch.equal(logits, ArtifactModel(tmp_path / "negated.safetensors")(X))
        with torch.no_grad():
            torch.testing.assert_close(logits, negated(X), rtol=1e-4, atol=1e-4)
        changed += not np.array_equal(logits.numpy(), before)
    assert changed, "flips do something"


def test_a_bit_flipped_twice_is_as_before(tmp_path: Path) -> None:
    packed = exported(small_net(), tmp_path / "net.safetensors")
    (bit,) = packed.random(1, torch.Generator().manual_seed(0))
    packed.write(tmp_path / "same.safetensors", [bit, bit])
    assert (tmp_path / "same.safetensors").read_bytes() == (tmp_path / "net.safetensors").read_bytes()


def test_random_bits_are_different_and_cover_everything(tmp_path: Path) -> None:
    packed = exported(small_net(), tmp_path / "net.safetensors")
    every = packed.random(packed.total, torch.Generator().manual_seed(0))
    expected = {Bit(t, r, p) for t, (rows, places) in packed.shapes.items() for r in range(rows) for p in range(places)}
    assert len(every) == packed.total
    assert set(every) == expected
    assert packed.random(9, torch.Generator().manual_seed(3)) == packed.random(9, torch.Generator().manual_seed(3))
    packed.write(tmp_path / "all.safetensors", every)
    flipped = PackedBits(tmp_path / "all.safetensors")
    assert all(np.array_equal(flipped.signs(tensor), -packed.signs(tensor)) for tensor in packed.shapes)


def accuracy(model: ArtifactModel) -> float:
    return float((model(X).argmax(1) == Y).float().mean())


def test_the_curve_is_measured_on_the_runtime(tmp_path: Path) -> None:
    packed = exported(small_net(), tmp_path / "net.safetensors")
    bits = packed.random(40, torch.Generator().manual_seed(1))
    points = flip_curve(packed, bits, [0, 5, 40], accuracy)
    assert [point.flipped for point in points] == [0, 5, 40]
    assert points[0].score == accuracy(ArtifactModel(tmp_path / "net.safetensors"))
    assert points[2].share == 40 / packed.total
    packed.write(tmp_path / "forty.safetensors", bits)
    assert points[2].score == accuracy(ArtifactModel(tmp_path / "forty.safetensors"))
    with pytest.raises(ValueError, match=r"`counts` in \[0, 40\].*41"):
        flip_curve(packed, bits, [41], accuracy)


def best_bit(net: nn.Module) -> tuple[float, str, int]:
    """The highest loss that one negated weight gives, by trying all of them; its layer and index."""
    found = []
    for name in binary_layers(net):
        for index in range(net.get_submodule(name).weight.numel()):
            weight = net.get_submodule(name).weight.data.view(-1)
            weight[index] *= -1
            with torch.no_grad():
                found.append((float(nn.functional.cross_entropy(net(X), Y)), name, index))
            weight[index] *= -1
    return max(found)


def test_the_search_against_trying_every_bit(tmp_path: Path) -> None:
    net = small_net()
    packed = exported(net, tmp_path / "net.safetensors")
    before = {key: value.clone() for key, value in net.state_dict().items()}
    found = ProgressiveBitSearch()(net, packed, CrossEntropyObjective(net, Y), X, 6)
    with torch.no_grad():
        clean = float(nn.functional.cross_entropy(net(X), Y))
    assert found.losses[0] == pytest.approx(clean)
    best = best_bit(net)[0]
    assert found.losses[1] - clean > 0.5 * (best - clean), "first order comes near the best of all"
    assert len(set(found.bits)) == 6
    after = net.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items()), "the net is as before"
    random = packed.random(6, torch.Generator().manual_seed(0))

    def loss(model: ArtifactModel) -> float:
        return float(nn.functional.cross_entropy(model(X), Y))

    guided = flip_curve(packed, found.bits, range(7), loss)
    np.testing.assert_allclose([point.score for point in guided], found.losses, rtol=1e-4)
    assert guided[-1].score > 1.5 * flip_curve(packed, random, [6], loss)[0].score


def test_the_order_of_a_nets_weights_in_memory_changes_nothing(tmp_path: Path) -> None:
    """Classifiers are trained in channels_last."""
    net = small_net()
    packed = exported(net, tmp_path / "net.safetensors")
    objective = CrossEntropyObjective(net, Y)
    found = ProgressiveBitSearch()(net, packed, objective, X, 3)
    net.to(memory_format=torch.channels_last)
    assert ProgressiveBitSearch()(net, packed, objective, X, 3).bits == found.bits


def test_first_order_is_exact_in_the_last_layer(tmp_path: Path) -> None:
    """The mean logit is linear in a weight of the last layer: there -2·w·dL/dw is the whole change."""
    net = small_net("bwn")
    with flippable(net) as weights:
        weight = list(weights.values())[-1]
        (gradient,) = torch.autograd.grad(net(X).mean(), [weight.effective])
        rises = weight.rises(gradient)[0].flatten()
        with torch.no_grad():
            clean = net(X).mean()
            for index in (0, 5, 11):
                weight.flip(0, index)
                torch.testing.assert_close(net(X).mean() - clean, rises[index], rtol=1e-3, atol=1e-5)
                assert torch.isinf(weight.rises(gradient)[0].flatten()[index]), "never twice"
                weight.flip(0, index)


@pytest.mark.parametrize("method", ["adabin", "abc_net", "bwn", "xnor", "dorefa", "horq"])
def test_flips_of_every_kind_of_basis(method: str, tmp_path: Path) -> None:
    net = small_net(method)
    packed = exported(net, tmp_path / "net.safetensors")
    found = ProgressiveBitSearch(candidates=3)(net, packed, CrossEntropyObjective(net, Y), X, 3)
    packed.write(tmp_path / "flipped.safetensors", found.bits)
    loss = nn.functional.cross_entropy(ArtifactModel(tmp_path / "flipped.safetensors")(X), Y)
    assert float(loss) == pytest.approx(found.losses[-1], rel=1e-3)


def test_what_is_refused(tmp_path: Path) -> None:
    net = small_net()
    path = tmp_path / "net.safetensors"
    packed = exported(net, path)
    for bit in [Bit("9.weight", 99, 0), Bit("nothing", 0, 0), Bit(next(iter(packed.shapes)), 0, 54)]:
        with pytest.raises(ValueError, match=r"net\.safetensors: Expected bits of"):
            packed.write(tmp_path / "new.safetensors", [bit])
    with pytest.raises(ValueError, match=r"`count` to be in \[0, "):
        packed.random(packed.total + 1, torch.Generator())
    other = copy.deepcopy(net)
    other[2].weight.data *= -1
    with pytest.raises(ValueError, match=r"net\.safetensors: .*layer '2'.*export this net again"):
        ProgressiveBitSearch()(other, packed, CrossEntropyObjective(other, Y), X, 1)
    with pytest.raises(ValueError, match="`flips` to be in"):
        ProgressiveBitSearch()(net, packed, CrossEntropyObjective(net, Y), X, packed.total + 1)
    with pytest.raises(ValueError, match="`candidates` to be >= 1"):
        ProgressiveBitSearch(0)
    plain = nn.Sequential(nn.Conv2d(3, 2, 3)).eval()
    with pytest.raises(ValueError, match="binary layers"), flippable(plain):
        pass
    export(plain, tmp_path / "plain.safetensors", example=X[:1])
    with pytest.raises(ArtifactError, match=r"plain\.safetensors: Expected an artifact with 1-bit weights"):
        PackedBits(tmp_path / "plain.safetensors")
    soft = nn.Sequential(BinaryConv2d(3, 2, 3, method="self_binarizing")).eval()
    with pytest.raises(ValueError, match=r"layer '0' is not binary yet.*set_progress"), flippable(soft):
        pass
