import copy
import io
import pickle
from collections.abc import Callable, Iterable
from functools import partial

import jsonargparse
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from bnn_tasks.binary import BinaryConv2d, BinaryLinear, Bop, CaseOptimizer, register_latent_updates

bop_and_adam = partial(CaseOptimizer, binary=partial(Bop, lr=0.01), real=partial(Adam, lr=0.02))


def small_net(method: str = "bop") -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 1),
        nn.BatchNorm2d(4),
        BinaryConv2d(4, 6, 3, method=method),
        nn.Flatten(),
        nn.BatchNorm1d(24),
        BinaryLinear(24, 5, bias=True, method=method),
    )


def groups(net: nn.Module) -> list[dict]:
    latent = [m.weight for m in net.modules() if isinstance(m, BinaryConv2d | BinaryLinear)]
    rest = [p for p in net.parameters() if all(p is not w for w in latent)]
    decayed = [p for p in rest if p.dim() > 1]
    kept = [p for p in rest if p.dim() < 2]
    return [
        {"params": decayed},
        {"params": kept, "weight_decay": 0.0},
        {"params": latent, "weight_decay": 0.0, "latent": True},
    ]


def batch(seed: int) -> Tensor:
    return torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def train(net: nn.Module, optimizer: Optimizer, scheduler: LambdaLR, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        net(batch(step)).square().mean().backward()
        optimizer.step()
        scheduler.step()


def falling(optimizer: Optimizer) -> LambdaLR:
    return LambdaLR(optimizer, lambda step: 1 - step / 20)


def test_every_parameter_goes_to_its_optimiser_and_moves_as_there() -> None:
    net, twin = small_net(), small_net()
    optimizer = bop_and_adam(groups(net))
    mine = groups(twin)
    apart = (Bop([mine[2]], lr=0.01), Adam(mine[:2], lr=0.02))
    for step in range(5):
        optimizer.zero_grad()
        net(batch(step)).square().mean().backward()
        optimizer.step()
        twin.zero_grad()
        twin(batch(step)).square().mean().backward()
        for member in apart:
            member.step()
    for (name, a), b in zip(net.named_parameters(), twin.parameters()):
        assert torch.equal(a, b), name
    assert len(optimizer.state) == len(list(net.parameters()))


def test_a_schedule_multiplies_each_members_learning_rate() -> None:
    optimizer = bop_and_adam(groups(small_net()))
    scheduler = LambdaLR(optimizer, lambda step: 0.5**step)
    optimizer.step()
    scheduler.step()
    assert [g["lr"] for g in optimizer.members[0].param_groups] == [0.005]
    assert [g["lr"] for g in optimizer.members[1].param_groups] == [0.01, 0.01]
    assert [g["lr"] for g in optimizer.param_groups] == [0.005, 0.01, 0.01]


def test_a_resumed_run_is_the_same_run() -> None:
    net = small_net()
    optimizer = bop_and_adam(groups(net))
    scheduler = falling(optimizer)
    train(net, optimizer, scheduler, range(4))
    file = io.BytesIO()
    torch.save([part.state_dict() for part in (net, optimizer, scheduler)], file)
    train(net, optimizer, scheduler, range(4, 9))

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = small_net()
    again = bop_and_adam(groups(other))
    schedule = falling(again)
    for part, state in zip((other, again, schedule), saved):
        part.load_state_dict(state)
    train(other, again, schedule, range(4, 9))
    for (name, a), b in zip(net.named_parameters(), other.named_parameters()):
        assert torch.equal(a, b[1]), name
    assert [g["lr"] for g in again.members[1].param_groups] == [g["lr"] for g in optimizer.param_groups[1:]]


def test_a_pickled_optimiser_keeps_its_members() -> None:
    net = small_net()
    optimizer = bop_and_adam(groups(net))
    train(net, optimizer, falling(optimizer), range(2))
    for clone in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert [type(member) for member in clone.members] == [Bop, Adam]
        assert all(member.state is clone.state for member in clone.members)
        assert clone.members[0].param_groups[0] is clone.param_groups[0]


def test_a_closure_is_called_once_with_gradients_on() -> None:
    net = small_net()
    optimizer = bop_and_adam(groups(net))
    calls = []

    def closure() -> Tensor:
        calls.append(torch.is_grad_enabled())
        loss = net(batch(0)).square().mean()
        loss.backward()
        return loss

    assert float(optimizer.step(closure).detach()) > 0
    assert calls == [True]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_config_builds_it() -> None:
    parser = jsonargparse.ArgumentParser()
    parser.add_argument("--optimizer", type=Callable[[Iterable], Optimizer])
    config = {
        "class_path": "CaseOptimizer",
        "init_args": {
            "binary": {"class_path": "Bop", "init_args": {"lr": 1e-3, "threshold": 1e-7}},
            "real": {"class_path": "torch.optim.Adam", "init_args": {"lr": 2e-3}},
        },
    }
    parsed = parser.instantiate_classes(parser.parse_object({"optimizer": config}))
    optimizer = parsed.optimizer(groups(small_net()))
    assert isinstance(optimizer, CaseOptimizer)
    assert [type(member) for member in optimizer.members] == [Bop, Adam]
    assert [g["lr"] for g in optimizer.param_groups] == [1e-3, 2e-3, 2e-3]
    assert optimizer.param_groups[0]["threshold"] == 1e-7


def test_both_cases_must_occur() -> None:
    both = groups(small_net())
    with pytest.raises(ValueError, match=r"got no latent ones.*Cure"):
        bop_and_adam(both[:2])
    with pytest.raises(ValueError, match="got no real ones"):
        bop_and_adam(both[2:])
    with pytest.raises(ValueError, match=r"to be groups.*but got Parameter.*parameter_groups"):
        bop_and_adam(small_net().parameters())
    with pytest.raises(ValueError, match="all parameter groups when"):
        bop_and_adam(both).add_param_group({"params": [nn.Parameter(torch.ones(1))]})


@pytest.mark.parametrize(
    "make", [partial(SGD, lr=50.0), partial(CaseOptimizer, binary=partial(SGD, lr=50.0), real=Adam)]
)
@pytest.mark.parametrize("method", ["bnn", "binary_connect", "xnor"])
def test_latent_weights_are_clipped_where_the_method_says_so(method: str, make: Callable) -> None:
    net = small_net(method)
    optimizer = make(groups(net))
    handle = register_latent_updates(optimizer, net)
    net(batch(0)).square().mean().backward()
    optimizer.step()
    largest = float(net[2].weight.detach().abs().max())
    assert (largest == 1) == (method != "xnor"), largest
    handle.remove()
    optimizer.step()
    assert float(net[2].weight.detach().abs().max()) > 1


@pytest.mark.parametrize("make", [Adam, partial(CaseOptimizer, binary=torch.optim.AdamW, real=partial(SGD, lr=0.1))])
def test_lab_learns_its_curvature_and_keeps_it(make: Callable) -> None:
    net = small_net("lab")
    optimizer = make(groups(net))
    register_latent_updates(optimizer, net)
    net(batch(0)).square().mean().backward()
    optimizer.step()
    second_moment = optimizer.state[net[2].weight]["exp_avg_sq"]
    torch.testing.assert_close(net[2].weight_binarizer.curvature, second_moment.sqrt() + 1e-8)
    other = small_net("lab")
    other.load_state_dict(net.state_dict())
    assert torch.equal(net.eval()(batch(1)), other.eval()(batch(1)))


@pytest.mark.parametrize("make", [partial(SGD, lr=0.1, momentum=0.9), partial(CaseOptimizer, binary=Bop, real=Adam)])
def test_lab_without_adam_is_refused_before_the_first_step(make: Callable) -> None:
    net = small_net("lab")
    with pytest.raises(
        ValueError, match=r"second moment for the method 'lab' of layer '2', but (SGD|Bop) keeps none.*Cure"
    ):
        register_latent_updates(make(groups(net)), net)


@pytest.mark.parametrize("make", [Adam, partial(CaseOptimizer, binary=partial(SGD, lr=0.1), real=Adam)])
def test_the_method_bop_without_the_optimiser_bop_is_refused(make: Callable) -> None:
    """Under another one its weights would be latent ones, and the method not the paper's."""
    net = small_net("bop")
    with pytest.raises(
        ValueError, match=r"Bop's average.*method 'bop' of layer '2', but (Adam|SGD) keeps none. Cure: CaseOptimizer"
    ):
        register_latent_updates(make(groups(net)), net)
    register_latent_updates(bop_and_adam(groups(net)), net)


def test_frozen_layers_and_those_without_gradient_are_left_alone() -> None:
    net = small_net("bnn")
    net[2].weight.requires_grad_(False)
    for layer in (net[2], net[5]):
        layer.weight.data.fill_(3.0)
    optimizer = SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    register_latent_updates(optimizer, net)
    optimizer.step()
    assert (net[2].weight == 3).all()
    assert (net[5].weight == 3).all()
