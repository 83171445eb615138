"""What every registered method must do."""

import copy
import io
import pickle

import pytest
import torch
from torch import Tensor, nn

from bnn_tasks.binary import (
    BinaryConv2d,
    BinaryLinear,
    Method,
    SignWeight,
    get_method,
    list_methods,
    set_progress,
    tie_to_size,
)
from bnn_tasks.binary.activations import SignActivation
from bnn_tasks.binary.estimators import STE, ClippedSTE
from bnn_tasks.binary.geometry import LayerShape, LinearGeometry
from bnn_tasks.binary.progress import Scheduled

every_method = pytest.mark.parametrize("method", list_methods())
UNREADY = ["bitwise", "self_binarizing"]  # real values until a schedule has hardened them


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(8, 3, 10, 10, generator=generator), torch.arange(8) % 5


def two_blocks(method: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    # Circulant filters are for 3×3 convolutions alone.
    last = nn.Linear(16, 5) if method == "cbcn" else BinaryLinear(16, 5, bias=True, method=method)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        BinaryConv2d(8, 8, 3, padding=1, bias=True, method=method),
        nn.BatchNorm2d(8),
        BinaryConv2d(8, 16, 3, stride=2, padding=1, groups=2, method=method),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.BatchNorm1d(16),  # after the mean, which would leave little on either side of a threshold
        last,
    )
    tie_to_size(net, batch()[0][:1])
    return net


def train_step(net: nn.Module) -> float:
    x, y = batch()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    loss = nn.functional.cross_entropy(net(x), y)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


@every_method
@pytest.mark.parametrize("progress", [0.0, 0.5])
def test_one_step_reaches_every_parameter(method: str, progress: float) -> None:
    net = two_blocks(method)
    set_progress(net, progress)
    before = copy.deepcopy(net.state_dict())
    train_step(net)
    # What feeds a BatchNorm has no use for a bias or one scale a channel: the BatchNorm undoes them.
    undone = {"bias", "weight_binarizer.alpha", "weight_binarizer.scale", "output_scale.factors.0"}
    idle = {name for name, _ in net.named_parameters() if name[0] in "024" and name[2:] in undone}
    dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert [name for name in dead if name not in idle] == []
    assert [n for n, p in net.named_parameters() if not torch.isfinite(p).all()] == []
    assert [n for n, p in net.named_parameters() if n not in idle and torch.equal(p, before[n])] == []


@every_method
def test_a_few_steps_lower_the_loss(method: str) -> None:
    net = two_blocks(method)
    losses = [train_step(net)]
    x, y = batch()
    steps, lr = (60, 0.05) if method == "binary_connect_stochastic" else (25, 0.02)  # noise takes longer
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    for step in range(steps):
        set_progress(net, step / (2 * steps))
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-3:]) / 3 < 0.7 * losses[0], losses


@every_method
def test_bfloat16_autocast_step(method: str) -> None:
    net = two_blocks(method)
    with torch.autocast("cpu", torch.bfloat16):
        loss = train_step(net)
    assert loss == loss
    for name, parameter in net.named_parameters():
        assert parameter.dtype == torch.float32, name
        assert torch.isfinite(parameter).all(), name


@every_method
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_dtypes_are_kept(method: str, dtype: torch.dtype) -> None:
    """In training, in evaluation, and of every gradient; and the values are those of float32 up to rounding."""
    net = two_blocks(method).to(dtype)
    x = batch()[0].to(dtype)
    y = net(x)
    y.square().sum().backward()
    assert y.dtype == dtype
    assert {p.grad.dtype for p in net.parameters()} == {dtype}
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
    set_progress(net, 1.0)
    layer = net[2].eval()
    x = torch.randn(2, 8, 10, 10, generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.no_grad():
        evaluated = layer(x)
    trained = layer(x).detach()
    assert evaluated.dtype == trained.dtype == dtype
    tolerance = 1e-4 if dtype == torch.float64 else 0.05
    torch.testing.assert_close(trained, evaluated, rtol=tolerance, atol=tolerance * float(evaluated.float().std()))


@every_method
def test_state_dict_round_trip(method: str) -> None:
    net, other = two_blocks(method, 0), two_blocks(method, 1)
    train_step(net)
    set_progress(net, 0.75)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    x, _ = batch()
    assert torch.equal(net.eval()(x), other.eval()(x))
    with torch.no_grad():
        assert torch.equal(net(x), other(x))
    for part in other.modules():
        if isinstance(part, Scheduled):
            assert float(part.progress) == 0.75


@every_method
def test_the_seed_decides(method: str) -> None:
    nets = [two_blocks(method, 3) for _ in range(2)]
    losses = []
    for net in nets:
        torch.manual_seed(4)
        losses.append(train_step(net))
    assert losses[0] == losses[1]
    for (name, a), b in zip(nets[0].named_parameters(), nets[1].parameters()):
        assert torch.equal(a, b), name


@every_method
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"])
def test_clones_are_equal_and_apart(method: str, clone: object) -> None:
    net = two_blocks(method)
    other = clone(net)
    x, _ = batch()
    assert torch.equal(net.eval()(x), other.eval()(x))
    before = copy.deepcopy(net.state_dict())
    train_step(other.train())
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def slopes(method: str, progress: float) -> tuple[Tensor, Tensor]:
    """Per-element backward of activation and weight, up to the factors that all elements share."""
    found = get_method(method)
    grid = torch.linspace(-2, 2, 401, dtype=torch.float64) + 1e-3
    shape = LayerShape(1, 401, linear=True)
    activation = found.activation(shape).double().train()
    set_progress(activation, progress)
    x = grid.clone().view(1, -1).requires_grad_()
    activation.product(x, torch.ones(1, 401, dtype=torch.float64), LinearGeometry()).sum().backward()
    shape = LayerShape(4, 45, (3, 3)) if method == "cbcn" else LayerShape(1, 405, linear=True)
    weight = found.weight(shape).double().eval()
    set_progress(weight, progress)
    latent = torch.linspace(-2, 2, 405, dtype=torch.float64).view(1, *shape.weight[1:]).requires_grad_()
    weight(latent).sum().backward()
    return x.grad.flatten(), latent.grad.flatten()


def pieces(slope: Tensor) -> int:
    """How many different values a gradient has."""
    return len(torch.unique((slope / slope.abs().max().clamp_min(1e-30) * 1e6).round()))


@every_method
def test_the_gradient_tag_says_whether_the_backward_is_a_straight_through_window(method: str) -> None:
    """Untagged methods pass gradients through windows, as BinaryConnect and BNN do; tagged ones shape them."""
    found = get_method(method)
    activation, _ = slopes(method, 1.0)
    windowed = pieces(activation) <= 7  # up to N = 3 windows side by side
    assert windowed != found.gradient
    # One sign without a scale of its own, tagged or not: the backward is the clipped STE or it is not.
    if isinstance(found.activation(LayerShape(1, 1)), SignActivation):
        grid = torch.linspace(-2, 2, 401, dtype=torch.float64) + 1e-3
        assert torch.equal(activation, (grid.abs() <= 1).double()) != found.gradient
        assert isinstance(found.activation(LayerShape(1, 1)).estimator, ClippedSTE) != found.gradient


@every_method
def test_asymptotic_methods_change_with_the_progress(method: str) -> None:
    start, middle, end = (slopes(method, progress) for progress in (0.0, 0.5, 1.0))
    changes = [not torch.allclose(a, b) for a, b in zip(start + middle, middle + end)]
    if get_method(method).asymptotic:
        assert any(changes[:2])
        assert any(changes[2:])
    elif method not in UNREADY:
        assert not any(changes)


@every_method
def test_terms_wait_for_hard_signs(method: str) -> None:
    net = two_blocks(method)
    layers = [layer for layer in net if isinstance(layer, BinaryConv2d | BinaryLinear)]
    for layer in layers:
        assert layer.ready == (method not in UNREADY)
        if layer.ready:
            layer.terms()
        else:
            with pytest.raises(
                ValueError, match=rf"training is finished, but method '{method}'.*set_progress\(net, 1.0\)"
            ):
                layer.terms()
            with torch.no_grad():
                layer(torch.randn(1, *((8, 10, 10) if isinstance(layer, BinaryConv2d) else (16,))))
    set_progress(net, 1.0)
    for layer in layers:
        assert layer.ready
        assert layer.terms().terms


def test_a_method_of_ones_own() -> None:
    own = Method("own", lambda shape: SignWeight(STE()), lambda shape: SignActivation(STE()), "nobody, 2026")
    assert get_method(own) is own
    layer = BinaryConv2d(2, 3, 1, method=own)
    assert layer.method_name == "own"
    assert "own" not in list_methods()
    x = torch.full((1, 2, 1, 1), 5.0, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.abs().sum() > 0, "the identity estimator does not clip at 1"
