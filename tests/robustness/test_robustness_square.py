"""Square: closed forms on linear models, the paper's patterns in plain loops, and its authors' code."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from attack_victims import generated, real_net, seeded
from torch import Tensor, nn

from bnn_tasks.robustness.attacks.square import MOVES, Square, bump, pyramid
from bnn_tasks.robustness.objective import MarginObjective, Objective

EPS = {"linf": 0.1, "l2": 1.4}


class Linear(Objective):
    """<w, x>, never lost."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self.asked = 0

    def __call__(self, images: Tensor, progress: float = 0.0) -> Tensor:
        assert progress == 0
        self.asked += len(images)
        return (images * self.weight).flatten(1).sum(1)

    def broken(self, images: Tensor) -> Tensor:
        return torch.zeros(len(images), dtype=torch.bool)

    def select(self, index: Tensor) -> "Linear":
        return self


@pytest.fixture(scope="module")
def victim() -> nn.Module:
    return real_net()


# --- closed forms --------------------------------------------------------------------------------------------------


def test_linf_reaches_the_optimum_of_a_linear_objective() -> None:
    weight = torch.randn(3, 5, 4, generator=seeded(0))
    images = 0.3 + 0.4 * torch.rand(4, 3, 5, 4, generator=seeded(1))
    objective = Linear(weight)
    found = Square(queries=1500)(objective, images, 0.1, seeded(2))
    torch.testing.assert_close(found.images, images + 0.1 * weight.sign())
    torch.testing.assert_close(found.losses, objective(images) + 0.1 * weight.abs().sum())
    assert not found.broken.any()
    assert found.queries.tolist() == [1500] * 4


def test_the_clamp_is_exact() -> None:
    images = torch.tensor([0.0, 0.02, 0.98, 1.0]).view(1, 1, 2, 2)
    found = Square(queries=200)(Linear(torch.tensor([[-1.0, -1.0], [1.0, 1.0]])), images, 0.1, seeded(0))
    assert found.images.flatten().tolist() == [0, 0, 1, 1]


def test_l2_comes_near_the_optimum_of_a_linear_objective() -> None:
    weight = torch.randn(1, 6, 6, generator=seeded(0))
    images = torch.full((3, 1, 6, 6), 0.5)
    found = Square(queries=1500, norm="l2")(Linear(weight), images, 0.3, seeded(1))
    gained = found.losses - Linear(weight)(images)
    assert (gained <= 0.3 * weight.norm() + 1e-5).all()
    assert (gained > 0.75 * 0.3 * weight.norm()).all()
    torch.testing.assert_close((found.images - images).flatten(1).norm(dim=1), torch.full((3,), 0.3))


@pytest.mark.parametrize(("height", "width"), [(0, 3), (1, 3), (2, 5), (3, 3), (4, 7), (7, 15), (8, 16)])
def test_pyramid_in_loops(height: int, width: int) -> None:
    """The authors' construction: ever larger squares around the middle, 1/(k + 1)² higher each."""
    expected = np.zeros((height, width))
    for k in range(max(height // 2, width // 2) + 1):
        for y in range(height):
            for x in range(width):
                if abs(y - height // 2) <= k and abs(x - width // 2) <= k:
                    expected[y, x] += 1 / (k + 1) ** 2
    expected /= np.linalg.norm(expected) or 1
    np.testing.assert_allclose(pyramid(height, width).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("side", [1, 2, 3, 6, 9])
def test_bump(side: int) -> None:
    shape = bump(side)
    assert shape.shape == (side, side)
    assert float(shape.norm()) == pytest.approx(1)
    assert (shape[: side // 2] > 0).all()
    assert (shape[side // 2 :] < 0).all()


def test_the_schedule() -> None:
    def share(step: int) -> float:  # the authors' table, for 10 000 queries
        for last, parts in [(10, 1), (50, 2), (200, 4), (500, 8), (1000, 16), (2000, 32), (4000, 64), (6000, 128)]:
            if step <= last:
                return 0.8 / parts
        return 0.8 / (256 if step <= 8000 else 512)

    for queries in (10_000, 5000, 137):
        for step in range(0, queries, 7):
            expected = max(round((share(int(step / queries * 10_000)) * 32 * 40) ** 0.5), 1)
            assert Square(queries).side(step, 32, 40) == min(expected, 32)


# --- the book ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", MOVES)
def test_ball_range_seed_and_book(norm: str, victim: nn.Module) -> None:
    images, labels = generated(60)
    labels = labels.clone()
    labels[:3] = (labels[:3] + 1) % 5  # lost from the start
    objective = MarginObjective(victim, labels)
    found = Square(150, norm=norm)(objective, images, EPS[norm], seeded(0))
    delta = (found.images - images).flatten(1)
    assert float(delta.abs().amax() if norm == "linf" else delta.norm(dim=1).amax()) <= EPS[norm] * (1 + 1e-5)
    assert float(found.images.min()) >= 0
    assert float(found.images.max()) <= 1
    assert torch.equal(found.broken, objective.broken(found.images))
    torch.testing.assert_close(found.losses, objective(found.images))
    assert torch.equal(found.images[:3], images[:3])
    assert found.queries[:3].tolist() == [1, 1, 1]
    assert 3 < found.broken.sum() < 60
    assert (found.queries[~found.broken] == 150).all()
    assert (found.queries[found.broken] <= 151).all()
    assert len(found.trace) == 149
    again = Square(150, norm=norm)(objective, images, EPS[norm], seeded(0))
    assert torch.equal(again.images, found.images)
    other = Square(150, norm=norm)(objective, images, EPS[norm], seeded(1))
    assert not torch.equal(other.images, found.images)


def test_the_loss_only_rises_after_the_start() -> None:
    found = Square(300, norm="l2")(Linear(torch.randn(3, 8, 8)), torch.rand(2, 3, 8, 8), 0.5, seeded(0))
    assert found.trace == sorted(found.trace)


def test_an_image_is_done_once_lost(victim: nn.Module) -> None:
    images, labels = generated(30)
    asked = []

    def counting(x: Tensor) -> Tensor:
        asked.append(len(x))
        return victim(x)

    found = Square(200)(MarginObjective(counting, labels), images, 0.15, seeded(0))
    assert 5 < found.broken.sum() <= 30
    assert sum(asked) == int(found.queries.sum())


@pytest.mark.parametrize("norm", MOVES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 3), (1, 14, 9), (3, 5, 40)])
def test_images_of_any_shape(norm: str, shape: tuple[int, int, int]) -> None:
    images = torch.rand(2, *shape, generator=seeded(0))
    found = Square(30, norm=norm)(Linear(torch.randn(shape, generator=seeded(1))), images, 0.2, seeded(2))
    assert found.images.isfinite().all()
    delta = (found.images - images).flatten(1)
    assert float(delta.abs().amax() if norm == "linf" else delta.norm(dim=1).amax()) <= 0.2 + 1e-5


@pytest.mark.parametrize("norm", MOVES)
def test_a_ball_of_radius_zero(norm: str, victim: nn.Module) -> None:
    images, labels = generated(5)
    found = Square(10, norm=norm)(MarginObjective(victim, labels), images, 0.0, seeded(0))
    assert torch.equal(found.images, images)


# --- its authors' code ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("norm", "name", "eps"), [("linf", "Linf", 0.2), ("l2", "L2", 11.0)])
def test_agreement_with_autoattack(norm: str, name: str, eps: float, victim: nn.Module) -> None:
    """At 32 × 32: theirs draws one place for all images and never the last one, which tells on a smaller picture."""
    autoattack = pytest.importorskip("pyautoattack.square", reason="pyautoattack is not installed")
    images, labels = generated(100)
    images = images.repeat_interleave(4, 2).repeat_interleave(4, 3)

    def model(x: Tensor) -> Tensor:
        logits: Tensor = victim(F.avg_pool2d(x, 4))
        return logits

    theirs, ours = [], []
    for seed in range(3):
        other = autoattack.SquareAttack(model, norm=name, n_queries=98, eps=eps, seed=seed)
        theirs.append(float((model(other.perturb(images, labels)).argmax(1) == labels).float().mean()))
        found = Square(100, norm=norm)(MarginObjective(model, labels), images, eps, seeded(seed))
        ours.append(1 - float(found.broken.float().mean()))
    assert 0.2 < np.mean(theirs) < 0.9
    spread = max(np.ptp(theirs), np.ptp(ours))
    assert abs(np.mean(ours) - np.mean(theirs)) <= spread + 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"queries": 1}, "`queries` to be >= 2"),
        ({"p_init": 0.0}, r"`p_init` to be in \(0, 1\]"),
        ({"p_init": 1.1}, "`p_init`"),
        ({"norm": "l1"}, "`norm`.*'l1'"),
    ],
)
def test_what_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Square(**arguments)


def test_images_that_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`images` in \[0, 1\]"):
        Square(5)(Linear(torch.ones(3, 4, 4)), torch.full((1, 3, 4, 4), 2.0), 0.1, seeded(0))
    with pytest.raises(ValueError, match="`eps`"):
        Square(5)(Linear(torch.ones(3, 4, 4)), torch.full((1, 3, 4, 4), 0.5), -0.1, seeded(0))
