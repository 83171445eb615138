import math

import numpy as np
import pytest
import torch
from torch import nn

from bnn_tasks.binary import ShiftAdaMax, ShiftBatchNorm2d, ap2


def ap2_of(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * 2.0 ** np.round(np.log2(np.abs(x)))


def test_ap2_is_the_nearest_power_of_two_on_a_logarithmic_scale() -> None:
    x = torch.tensor([3.0, 2.8, 1.0, 0.75, 0.7, -5.0, -0.3, 1e-20, 0.0])
    assert ap2(x).tolist() == [4, 2, 1, 1, 0.5, -4, -0.25, 2.0**-66, 0]
    x = torch.randn(10_000, generator=torch.Generator().manual_seed(0)) * torch.logspace(-30, 30, 10_000)
    mantissa, _ = torch.frexp(ap2(x).abs())
    assert (mantissa == 0.5).all(), "not exactly a power of two"
    assert ((ap2(x) / x).log2().abs() <= 0.5 + 1e-6).all()


def test_ap2s_gradient_is_the_identity() -> None:
    x = torch.tensor([3.0, -0.3], requires_grad=True)
    y = ap2(x)
    (y * torch.tensor([2.0, 5.0])).sum().backward()
    assert y.tolist() == [4, -0.25]
    assert x.grad.tolist() == [2, 5]


def trained() -> tuple[ShiftBatchNorm2d, torch.Tensor]:
    torch.manual_seed(0)
    norm = ShiftBatchNorm2d(3)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm, torch.randn(4, 3, 5, 6) * torch.tensor([0.1, 1.0, 30.0]).view(-1, 1, 1) + 2


def test_shift_batchnorm_is_the_papers_formula() -> None:
    norm, x = trained()
    values, gamma, beta = (t.detach().double().numpy() for t in (x, norm.weight, norm.bias))
    centred = values - values.mean((0, 2, 3), keepdims=True)
    variance = (centred * ap2_of(centred)).mean((0, 2, 3))
    scale = ap2_of(1 / np.sqrt(variance + norm.eps)) * ap2_of(gamma)
    expected = centred * scale.reshape(-1, 1, 1) + beta.reshape(-1, 1, 1)
    np.testing.assert_allclose(norm(x).detach().numpy(), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(norm.running_mean.numpy(), 0.1 * values.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(norm.running_var.numpy(), 0.9 + 0.1 * variance, rtol=1e-5)


def test_shift_batchnorm_in_evaluation_is_a_plain_one() -> None:
    norm, x = trained()
    for _ in range(30):
        norm(x)
    plain = norm.eval().as_batchnorm()
    assert type(plain) is nn.BatchNorm2d
    mantissa, _ = torch.frexp(plain.weight.detach().abs())
    assert (mantissa == 0.5).all()
    torch.testing.assert_close(plain(x), norm(x))
    norm.train()(x)
    norm(x).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in norm.parameters())


def test_shift_batchnorm_averages_cumulatively_without_momentum() -> None:
    norm, x = trained()
    norm.momentum = None
    norm(x)
    first = norm.running_mean.clone()
    norm(3 * x)
    torch.testing.assert_close(norm.running_mean, 2 * first)
    with pytest.raises(ValueError, match="running statistics"):
        ShiftBatchNorm2d(3, track_running_stats=False).as_batchnorm()


def test_shift_adamax_is_the_papers_rule() -> None:
    generator = torch.Generator().manual_seed(0)
    parameter = nn.Parameter(torch.randn(20, generator=generator, dtype=torch.float64))
    optimizer = ShiftAdaMax([parameter], lr=2**-6)
    w, m, v = parameter.detach().numpy().copy(), np.zeros(20), np.zeros(20)
    for t in range(1, 8):
        parameter.grad = torch.randn(20, generator=generator, dtype=torch.float64)
        g = parameter.grad.numpy()
        m, v = m + (g - m) / 8, np.maximum((1 - 2**-10) * v, np.abs(g) + 1e-8)
        w -= ap2_of(np.array(2**-6 / (1 - (7 / 8) ** t))) * m * ap2_of(1 / v)
        optimizer.step()
        np.testing.assert_allclose(parameter.detach().numpy(), w, rtol=1e-10)
    state = optimizer.state_dict()
    again = ShiftAdaMax([parameter])
    again.load_state_dict(state)
    assert float(again.state[parameter]["step"]) == 7


@pytest.mark.parametrize("arguments", [{"lr": 0.0}, {"eps": 0.0}, {"betas": (1.0, 0.9)}, {"lr": math.nan}])
def test_shift_adamax_refuses(arguments: dict) -> None:
    with pytest.raises(ValueError, match="Expected lr > 0"):
        ShiftAdaMax([nn.Parameter(torch.ones(1))], **arguments)
