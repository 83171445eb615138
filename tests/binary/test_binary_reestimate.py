import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from bnn_tasks.binary import BinaryConv2d, reestimate_batchnorm, set_batchnorm_momentum


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Dropout(0.5),
        BinaryConv2d(4, 5, 3, method="bireal"),
        nn.BatchNorm2d(5, momentum=0.3),
    )


def batches(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(6, 3, 9, 9, generator=generator) * (1 + i) for i in range(count)]


def test_statistics_are_the_means_of_the_batches_own() -> None:
    net = small_net()
    for x in batches(3):
        net(x)
    assert reestimate_batchnorm(net, iter(batches(4))) == 4
    inner = [net[0](x) for x in batches(4)]
    means = torch.stack([y.mean((0, 2, 3)) for y in inner]).mean(0)
    variances = torch.stack([y.var((0, 2, 3)) for y in inner]).mean(0)
    torch.testing.assert_close(net[1].running_mean, means)
    torch.testing.assert_close(net[1].running_var, variances)


def test_the_second_batchnorm_sees_true_signs_and_no_dropout() -> None:
    net = small_net()
    (x,) = batches(1)
    reestimate_batchnorm(net, [x])
    y = net[0](x)
    y = (y - y.mean((0, 2, 3), keepdim=True)) / (y.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    signs = torch.where(y >= 0, 1.0, -1.0)
    weight = net[3].weight.detach()
    alpha = weight.abs().mean((1, 2, 3)).view(-1, 1, 1)
    sums = nn.functional.conv2d(signs, torch.where(weight >= 0, 1.0, -1.0))
    assert torch.equal(sums, sums.round())
    torch.testing.assert_close(net[4].running_mean, (sums * alpha).mean((0, 2, 3)))


def test_nothing_else_changes() -> None:
    net = small_net()
    net[2].eval()
    before = copy.deepcopy(net)
    reestimate_batchnorm(net, batches(2))
    assert [m.training for m in net.modules()] == [m.training for m in before.modules()]
    assert (net[1].momentum, net[4].momentum) == (0.1, 0.3)
    for (name, a), b in zip(net.named_parameters(), before.parameters()):
        assert torch.equal(a, b), name
        assert a.grad is None


def test_errors_leave_momenta_and_flags() -> None:
    def broken() -> Iterator[Tensor]:
        yield batches(1)[0]
        raise OSError("no more")

    net = small_net()
    statistics = net[1].running_mean.clone()
    with pytest.raises(ValueError, match="at least one batch"):
        reestimate_batchnorm(net, [])
    assert torch.equal(net[1].running_mean, statistics)
    with pytest.raises(OSError, match="no more"):
        reestimate_batchnorm(net, broken())
    assert net.training
    assert net[2].training
    assert net[4].momentum == 0.3
    with pytest.raises(ValueError, match="Expected a net with BatchNorms"):
        reestimate_batchnorm(nn.Conv2d(3, 4, 1), batches(1))


def test_one_momentum_for_all() -> None:
    net = small_net()
    set_batchnorm_momentum(net, 0.02)
    assert (net[1].momentum, net[4].momentum) == (0.02, 0.02)
    for bad in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="Expected `momentum` to be in"):
            set_batchnorm_momentum(net, bad)
    with pytest.raises(ValueError, match="Expected a net with BatchNorms"):
        set_batchnorm_momentum(nn.Sequential(), 0.1)
