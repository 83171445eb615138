"""What every registered method must do."""

import copy
import io
import pickle

import pytest
import torch
from torch import Tensor, nn

from bnn_tasks.binary import BinaryConv2d, BinaryLinear, Method, SignWeight, get_method, list_methods
from bnn_tasks.binary.activations import SignActivation
from bnn_tasks.binary.estimators import STE

every_method = pytest.mark.parametrize("method", list_methods())


def two_blocks(method: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        BinaryConv2d(8, 8, 3, padding=1, bias=True, method=method),
        nn.BatchNorm2d(8),
        BinaryConv2d(8, 12, 3, stride=2, padding=1, groups=2, method=method),
        nn.BatchNorm2d(12),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        BinaryLinear(12, 5, bias=True, method=method),
    )


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(8, 3, 10, 10, generator=generator), torch.arange(8) % 5


def train_step(net: nn.Module) -> float:
    x, y = batch()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    loss = nn.functional.cross_entropy(net(x), y)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


@every_method
def test_one_step_reaches_every_parameter(method: str) -> None:
    net = two_blocks(method)
    before = copy.deepcopy(net.state_dict())
    train_step(net)
    dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # What feeds a BatchNorm has no use for a bias: the BatchNorm subtracts it.
    assert [name for name in dead if name not in ("0.bias", "2.bias")] == []
    assert [n for n, p in net.named_parameters() if not torch.isfinite(p).all()] == []
    assert [n for n, p in net.named_parameters() if n not in dead and torch.equal(p, before[n])] == []


@every_method
def test_a_few_steps_lower_the_loss(method: str) -> None:
    net = two_blocks(method)
    losses = [train_step(net) for _ in range(1)]
    x, y = batch()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(25):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0], losses


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
def test_state_dict_round_trip(method: str) -> None:
    net, other = two_blocks(method, 0), two_blocks(method, 1)
    train_step(net)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    x, _ = batch()
    assert torch.equal(net.eval()(x), other.eval()(x))


@every_method
def test_the_seed_decides(method: str) -> None:
    nets = [two_blocks(method, 3) for _ in range(2)]
    assert train_step(nets[0]) == train_step(nets[1])
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


@every_method
def test_the_gradient_tag_says_whether_the_backward_is_the_clipped_ste(method: str) -> None:
    layer = BinaryConv2d(1, 1, 1, method=method)
    layer.weight.data.fill_(0.5)
    x = torch.linspace(-2, 2, 41).view(41, 1, 1, 1).requires_grad_()
    y = layer(x)
    y.sum().backward()
    gain = float(y.detach().abs().max())
    clipped = gain * (x.detach().abs() <= 1)
    assert (not torch.allclose(x.grad, clipped)) == get_method(method).gradient


@every_method
def test_a_method_names_its_paper(method: str) -> None:
    found = get_method(method)
    assert found.name == method
    assert found.paper[-4:].isdigit() or "20" in found.paper


def test_unknown_method_lists_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"Expected `method` to be one of .*'xnor'.*but got 'xnot'"):
        get_method("xnot")


def test_a_method_of_ones_own() -> None:
    own = Method("own", lambda outputs: SignWeight(STE()), lambda inputs: SignActivation(STE()), "nobody, 2026")
    assert get_method(own) is own
    layer = BinaryConv2d(2, 3, 1, method=own)
    assert layer.method_name == "own"
    assert "own" not in list_methods()
    x = torch.full((1, 2, 1, 1), 5.0, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.abs().sum() > 0, "the identity estimator does not clip at 1"
