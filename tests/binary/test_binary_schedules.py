import math

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from bnn_tasks.binary import Constant, Cosine, OneCycle


def test_constant_is_one() -> None:
    assert [Constant()(p) for p in (0.0, 0.3, 1.0)] == [1, 1, 1]


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_cosine_ends_and_direction(warmup: float) -> None:
    schedule = Cosine(warmup)
    assert schedule(0.0) == (0.0 if warmup else 1.0)
    assert schedule(warmup) == 1
    assert schedule(1.0) == pytest.approx(0, abs=1e-12)
    assert schedule((1 + warmup) / 2) == pytest.approx(0.5)
    rising = [schedule(warmup * i / 20) for i in range(21)] if warmup else []
    assert rising == sorted(rising)
    falling = [schedule(warmup + (1 - warmup) * i / 50) for i in range(51)]
    assert falling == sorted(falling, reverse=True)


def test_cosine_without_warmup_is_its_formula() -> None:
    for i in range(11):
        assert Cosine()(i / 10) == pytest.approx((1 + math.cos(math.pi * i / 10)) / 2)


@pytest.mark.parametrize(("peak", "div", "final"), [(0.3, 25.0, 1e4), (0.5, 10.0, 100.0)])
def test_one_cycle_is_torchs(peak: float, div: float, final: float) -> None:
    steps = 41
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = OneCycleLR(
        optimizer, max_lr=2.0, total_steps=steps, pct_start=peak, div_factor=div, final_div_factor=final
    )
    ours = OneCycle(peak=(peak * steps - 1) / (steps - 1), start=1 / div, end=1 / (div * final))
    for step in range(steps):
        assert 2 * ours(step / (steps - 1)) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-6, abs=1e-9), step
        optimizer.step()
        if step < steps - 1:
            scheduler.step()


def test_one_cycle_ends() -> None:
    schedule = OneCycle(peak=0.25, start=0.1, end=0.01)
    assert (schedule(0.0), schedule(0.25), schedule(1.0)) == pytest.approx((0.1, 1, 0.01))


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: Cosine(1.0), "warmup"),
        (lambda: Cosine(-0.1), "warmup"),
        (lambda: OneCycle(peak=0), "peak"),
        (lambda: OneCycle(peak=1), "peak"),
        (lambda: OneCycle(start=2), "start"),
        (lambda: OneCycle(end=-1), "end"),
    ],
)
def test_bad_arguments_are_named(build: object, name: str) -> None:
    with pytest.raises(ValueError, match=rf"Expected `{name}`"):
        build()
