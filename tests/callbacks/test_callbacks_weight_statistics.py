"""Telemetry's numbers against closed forms in numpy."""

import math
from itertools import pairwise

import numpy as np
import pytest

from bnn_tasks.callbacks.sign_history import SignHistory
from bnn_tasks.callbacks.weight_statistics import cosine_deviation, dead_share, entropy, sign_balance


def test_balance_and_entropy_of_known_shares() -> None:
    signs = np.ones((4, 8))
    signs[1, :4] = -1  # p = 1/2
    signs[2, :6] = -1  # p = 1/4
    signs[3] = -1
    assert sign_balance(signs) == pytest.approx((8 + 0 - 4 - 8) / 32)
    quarter = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert entropy(signs) == pytest.approx([0, 1, quarter, 0])
    p = 14 / 32
    assert entropy(signs.reshape(1, -1)) == pytest.approx([-(p * math.log2(p) + (1 - p) * math.log2(1 - p))])


@pytest.mark.parametrize("tau", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("scale", [1e-3, 1.0])
def test_the_dead_share_of_a_laplace_law_is_two_minus_two_tau(tau: float, scale: float) -> None:
    weight = np.random.default_rng(0).laplace(0, scale, 400_000)
    assert dead_share(weight, tau) == pytest.approx(2 - 2 * tau, rel=0.03)


def test_the_dead_share_of_other_laws() -> None:
    uniform = np.linspace(-1, 1, 10_001)
    assert dead_share(uniform) == 0  # Q = ½·ln 50 > 1
    normal = np.random.default_rng(0).standard_normal(400_000)
    q = math.sqrt(2 / math.pi) * math.log(50)
    assert dead_share(normal) == pytest.approx(math.erfc(q / math.sqrt(2)), rel=0.05)
    heavy = np.concatenate([np.full(90, 0.01), np.full(10, 10.0)])
    assert dead_share(heavy) == pytest.approx(0.1)
    assert dead_share(np.zeros(5)) == 0


def test_cosine_deviation() -> None:
    g = np.array([3.0, 4.0])
    for other, expected in (([6, 8], 0), ([-3, -4], 2), ([4, -3], 1), ([1, 0], 1 - 0.6)):
        assert cosine_deviation(g, np.array(other, float)) == pytest.approx(expected)
    assert math.isnan(cosine_deviation(g, np.zeros(2)))


def test_flips_between_two_looks_and_since_the_first() -> None:
    rng = np.random.default_rng(0)
    looks = [np.where(rng.random((3, 7)) < 0.5, 1, -1) for _ in range(5)]
    history = SignHistory(looks[0])
    same = np.ones((3, 7), bool)
    for before, now in pairwise(looks):
        same &= now == before
        flips, kept = history.look(now)
        assert flips == pytest.approx((now != before).mean())
        assert kept == pytest.approx(same.mean())
    assert history.look(looks[-1]) == (0, pytest.approx(same.mean()))


def test_signs_of_another_size_are_a_first_look() -> None:
    history = SignHistory(np.ones((2, 3)))
    assert history.look(-np.ones((2, 6))) == (0, 1)
    assert history.look(np.ones((2, 6))) == (1, 0)
