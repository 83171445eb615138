import numpy as np
import pytest
import torch
from torch import nn

from bnn_tasks.binary import BinaryLinear, Bop


def larq(w: np.ndarray, m: np.ndarray, g: np.ndarray, gamma: float, tau: float) -> tuple[np.ndarray, np.ndarray]:
    """larq's optimizers.py: w ← sgn(-sgn(w·m - τ)·w), sgn(0) = 1; differs from the paper where w·m = τ exactly."""
    m = m + gamma * (g - m)
    return np.where(w * m > tau, -w, w), m


def test_flips_are_the_papers() -> None:
    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    latent[0, 0], latent[0, 1] = 0.0, -0.0
    weight = nn.Parameter(latent.clone())
    optimizer = Bop([weight], lr=0.3, threshold=0.05)
    w, m = np.where(latent.numpy() >= 0, 1.0, -1.0), np.zeros((6, 5))
    np.testing.assert_array_equal(weight.detach().numpy(), w)
    flips = 0
    for _ in range(20):
        weight.grad = torch.randn(6, 5, generator=generator, dtype=torch.float64)
        before = w
        w, m = larq(w, m, weight.grad.numpy(), 0.3, 0.05)
        optimizer.step()
        np.testing.assert_array_equal(weight.detach().numpy(), w)
        np.testing.assert_allclose(optimizer.state[weight]["average"].numpy(), m)
        flips += int((w != before).sum())
    assert 20 < flips < 400


@pytest.mark.parametrize(("average", "flips"), [(0.5, False), (0.5001, True), (-0.9, False), (0.0, False)])
def test_a_flip_needs_more_than_the_threshold_and_the_weights_own_sign(average: float, flips: bool) -> None:
    weight = nn.Parameter(torch.ones(1))
    optimizer = Bop([weight], lr=1.0, threshold=0.5)
    weight.grad = torch.tensor([average])
    optimizer.step()
    assert weight.item() == (-1 if flips else 1)


def test_the_schedule_moves_the_adaptivity_and_nothing_flips_at_zero() -> None:
    weight = nn.Parameter(torch.ones(3))
    optimizer = Bop([weight], lr=0.5)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 - step)
    weight.grad = torch.tensor([1.0, -1.0, 1.0])
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0
    assert weight.tolist() == [-1, 1, -1]
    weight.grad = -weight.grad
    for _ in range(3):
        optimizer.step()
    assert weight.tolist() == [-1, 1, -1]


def test_a_net_without_latent_weights_learns() -> None:
    torch.manual_seed(0)
    target = torch.randn(8, 16).sign()
    layer = BinaryLinear(16, 8, method="bop")
    optimizer = Bop(layer.parameters(), lr=0.1)
    for _ in range(200):
        x = torch.randn(64, 16)
        optimizer.zero_grad()
        (layer(x) - x.sign() @ target.T).square().mean().backward()
        optimizer.step()
    assert (layer.weight.abs() == 1).all()
    assert (layer.weight == target).float().mean() > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": -0.1}, "Expected `lr`.*but got -0.1"),
        ({"lr": 1.5}, "Expected `lr`.*but got 1.5"),
        ({"threshold": -1.0}, "Expected `threshold`.*but got -1.0"),
        ({"threshold": float("nan")}, "Expected `threshold`"),
    ],
)
def test_bop_refuses(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Bop([nn.Parameter(torch.ones(2))], **arguments)
