import math
from collections.abc import Callable

import pytest
import torch
from attack_victims import Linear, Watched, binary_net, generated, real_net, seeded
from torch import Tensor, nn

from bnn_tasks.robustness.attacks import (
    APGD,
    EOT,
    FGSM,
    HNS,
    MIFGSM,
    NJS,
    PGD,
    RFGSM,
    Attack,
    CarliniWagner,
    Raising,
    RandomNoise,
    SurrogateSweep,
    TargetedDLR,
    TemperatureScaled,
    Transfer,
    WorstCase,
)
from bnn_tasks.robustness.dlr import DLRObjective
from bnn_tasks.robustness.norms import NORMS, get_norm
from bnn_tasks.robustness.objective import CrossEntropyObjective, MarginObjective

EPS = {"linf": 0.03, "l2": 0.3}
STEPPED: dict[str, Callable[[str], Attack]] = {
    "fgsm": lambda norm: FGSM(norm),
    "r+fgsm": lambda norm: RFGSM(norm=norm),
    "pgd": lambda norm: PGD(6, restarts=2, norm=norm),
    "mi-fgsm": lambda norm: MIFGSM(5, norm=norm),
    "apgd": lambda norm: APGD(8, restarts=2, norm=norm),
    "noise": lambda norm: RandomNoise(3, norm),
    "dlr": lambda norm: Raising(APGD(6, norm=norm), DLRObjective),
    "targeted dlr": lambda norm: TargetedDLR(APGD(5, norm=norm), 3),
    "eot": lambda norm: EOT(PGD(4, norm=norm), 2),
    "njs": lambda norm: TemperatureScaled(PGD(4, norm=norm), NJS()),
    "hns": lambda norm: TemperatureScaled(PGD(4, norm=norm), HNS()),
    "transfer": lambda norm: Transfer(MIFGSM(4, norm=norm), [binary_net(), real_net()], "others"),
    "sweep": lambda norm: SurrogateSweep(PGD(4, norm=norm)),
    "worst": lambda norm: WorstCase([RandomNoise(1, norm), FGSM(norm), PGD(4, norm=norm)]),
}
CASES = [(name, norm) for name in STEPPED for norm in NORMS]


@pytest.mark.parametrize("victim", [real_net, binary_net])
@pytest.mark.parametrize(("name", "norm"), [*CASES, ("c&w", "l2")])
def test_what_an_attack_gives(name: str, norm: str, victim: Callable[[], nn.Module]) -> None:
    images, labels = generated(40)
    attack = CarliniWagner(15, 3, learning_rate=0.05) if name == "c&w" else STEPPED[name](norm)
    objective = CrossEntropyObjective(victim(), labels)
    before = images.clone()
    found = attack(objective, images, EPS[norm], seeded())
    assert torch.equal(images, before)
    assert (found.images >= 0).all()
    assert (found.images <= 1).all()
    assert (get_norm(norm).length(found.images - images) <= EPS[norm] * (1 + 1e-5)).all()
    assert torch.equal(found.broken, objective.broken(found.images))
    with torch.no_grad():
        torch.testing.assert_close(found.losses, objective(found.images))
    assert not (objective.broken(images) & ~found.broken).any(), "the ball holds the image itself"
    assert (found.queries >= 1).all()

    again = attack(objective, images, EPS[norm], seeded())
    assert torch.equal(again.images, found.images)
    assert torch.equal(again.queries, found.queries)

    nothing = attack(objective, images, 0.0, seeded())
    assert torch.equal(nothing.broken, objective.broken(images))
    torch.testing.assert_close(nothing.images, images, atol=1e-6, rtol=0)


def test_another_seed_gives_other_images() -> None:
    images, labels = generated(4)
    objective = Watched(real_net(), labels, lambda x: torch.zeros(len(x), dtype=torch.bool), [])
    for attack in (PGD(2), APGD(2), RandomNoise(), RFGSM()):
        first, second = (attack(objective, images, 0.03, seeded(seed)).images for seed in (0, 1))
        assert not torch.equal(first, second), attack.name


@pytest.mark.parametrize("attack", [FGSM(), PGD(8), MIFGSM(8), APGD(8)], ids=lambda a: a.name)
def test_optimum_of_a_linear_model_linf(attack: Attack) -> None:
    model, eps = Linear(), 0.05
    images = torch.rand(6, 3, 4, 4, generator=seeded()) * 0.8 + 0.1  # the range [0, 1] is out of reach
    found = attack(MarginObjective(model, torch.zeros(6, dtype=torch.int64)), images, eps, seeded())
    best = images + eps * model.w.sign()
    survived = ~found.broken
    torch.testing.assert_close(found.images[survived], best[survived])
    assert torch.equal(found.broken, model(best).argmax(1) == 1)
    assert int(found.broken.sum()) > 0


L2_ATTACKS = [FGSM("l2"), PGD(30, norm="l2"), MIFGSM(8, norm="l2"), APGD(30, norm="l2")]


@pytest.mark.parametrize("attack", L2_ATTACKS, ids=lambda a: a.name)
def test_optimum_of_a_linear_model_l2(attack: Attack) -> None:
    model, eps = Linear(), 0.3
    images = torch.rand(6, 3, 4, 4, generator=seeded()) * 0.2 + 0.4
    found = attack(MarginObjective(model, torch.zeros(6, dtype=torch.int64)), images, eps, seeded())
    best = images + eps * model.w / model.w.norm()
    survived = ~found.broken
    torch.testing.assert_close(found.images[survived], best[survived], atol=2e-3, rtol=0)
    assert torch.equal(found.broken, model(best).argmax(1) == 1)


def test_carlini_wagner_finds_the_distance_of_a_linear_model() -> None:
    model = Linear()
    images = torch.rand(20, 3, 4, 4, generator=seeded()) * 0.2 + 0.4
    labels = model(images).argmax(1)
    distance = model(images)[:, 1].abs() / model.w.norm()
    radius = float(distance.median())
    found = CarliniWagner(200, 6, learning_rate=5e-3)(CrossEntropyObjective(model, labels), images, radius, seeded())
    clear = (distance - radius).abs() > 0.03 * radius
    assert torch.equal(found.broken[clear], (distance < radius)[clear])
    assert int(clear.sum()) > 15


def test_momentum_is_the_sum_of_unit_gradients() -> None:
    attack, generator = MIFGSM(3, decay=0.5), seeded()
    gradients = [torch.randn(2, 1, 2, 2, generator=generator) for _ in range(3)]
    followed = None
    for gradient in gradients:
        followed = attack.accumulate(gradient, followed)
    expected = sum(
        0.5 ** (2 - i) * gradient / gradient.abs().sum((1, 2, 3), keepdim=True) for i, gradient in enumerate(gradients)
    )
    torch.testing.assert_close(followed, expected)
    assert torch.equal(attack.accumulate(torch.zeros(1, 1, 2, 2), None), torch.zeros(1, 1, 2, 2))


def test_first_step_of_tramer_is_random_and_half_as_long() -> None:
    images, labels = torch.full((2, 3, 8, 8), 0.5), torch.tensor([0, 1])
    seen: list[Tensor] = []
    RFGSM()(Watched(real_net(), labels, lambda x: torch.zeros(len(x), dtype=torch.bool), seen), images, 0.1, seeded())
    _clean, start, end = seen
    torch.testing.assert_close((start - images).abs(), torch.full_like(images, 0.05))
    torch.testing.assert_close((end - start).abs().amax(), torch.tensor(0.05))


@pytest.mark.parametrize("attack", [PGD(6, random_start=False), MIFGSM(6), APGD(6)], ids=lambda a: a.name)
def test_an_image_lost_on_the_way_is_kept_and_left_alone(attack: Attack) -> None:
    model, eps = Linear(), 0.1
    images = torch.full((3, 3, 4, 4), 0.5)
    labels = torch.zeros(3, dtype=torch.int64)
    images[1] = 0.7  # only this one's iterates are lost, and only in a shell that the attack passes through

    def rule(x: Tensor) -> Tensor:
        moved = (x - 0.7).abs().mean((1, 2, 3))
        return (moved > 0.01) & (moved < 0.09)

    seen: list[Tensor] = []
    found = attack(Watched(model, labels, rule, seen), images, eps, seeded())
    assert found.broken.tolist() == [False, True, False]
    assert rule(found.images)[1]
    sizes = [len(batch) for batch in seen]
    assert sizes[0] == 3
    assert sizes[-1] == 2
    assert sizes == sorted(sizes, reverse=True)
    assert found.queries[1] < found.queries[0] == found.queries[2]


def test_a_restart_fights_for_survivors_alone() -> None:
    model, seen = Linear(), []
    images = torch.full((4, 3, 4, 4), 0.5)
    images[0], images[3] = 0.2, 0.2
    objective = Watched(model, torch.zeros(4, dtype=torch.int64), lambda x: x.mean((1, 2, 3)) < 0.4, seen)
    found = PGD(3, restarts=3)(objective, images, 0.01, seeded())
    assert found.broken.tolist() == [True, False, False, True]
    assert {len(batch) for batch in seen[1:]} == {2}
    assert len(seen) == 1 + 3 * (3 + 1)
    assert found.queries.tolist() == [1, 13, 13, 1]


def test_nothing_is_left_to_do_where_all_images_are_lost() -> None:
    images = torch.rand(3, 3, 4, 4, generator=seeded())
    for attack in (FGSM(), PGD(), APGD(), RandomNoise(), WorstCase([FGSM()])):
        found = attack(
            Watched(Linear(), torch.zeros(3, dtype=torch.int64), lambda x: torch.ones(len(x), dtype=torch.bool), []),
            images,
            0.1,
            seeded(),
        )
        assert found.broken.all()
        assert torch.equal(found.images, images)
        assert found.queries.tolist() == [1, 1, 1]


@pytest.mark.parametrize("norm", NORMS)
def test_a_restart_without_survivors_ends(norm: str) -> None:
    images = torch.full((2, 3, 4, 4), 0.5)
    objective = Watched(Linear(), torch.zeros(2, dtype=torch.int64), lambda x: (x != 0.5).flatten(1).any(1), [])
    assert PGD(3, restarts=3, norm=norm)(objective, images, 0.1, seeded()).broken.all()


def test_trace_rises_on_a_linear_model_until_the_corner() -> None:
    images = torch.full((2, 3, 4, 4), 0.5)
    objective = Watched(
        Linear(), torch.zeros(2, dtype=torch.int64), lambda x: torch.zeros(len(x), dtype=torch.bool), []
    )
    trace = PGD(8, random_start=False)(objective, images, 0.1, seeded()).trace
    assert trace[0] < trace[1] < trace[2] < trace[3] < trace[4]
    assert trace[5] == trace[6] == trace[7]


@pytest.mark.parametrize("norm", NORMS)
def test_random_perturbations(norm: str) -> None:
    images, eps = torch.full((400, 1, 2, 2), 0.5), 0.2
    length = get_norm(norm).length(get_norm(norm).random(images, eps, seeded()))
    # Uniform over a ball of d dimensions: the length's quantile q is ε·q^(1/d).
    for share in (0.25, 0.5, 0.75):
        assert float(length.quantile(share)) == pytest.approx(eps * share ** (1 / 4), rel=0.05)
    surface = get_norm(norm).length(get_norm(norm).surface(images, eps, seeded()))
    torch.testing.assert_close(surface, torch.full_like(surface, eps))


@pytest.mark.parametrize("norm", NORMS)
def test_projection_is_idempotent_and_direction_is_steepest(norm: str) -> None:
    generator, ball = seeded(), get_norm(norm)
    images = torch.rand(50, 3, 4, 4, generator=generator)
    far = images + torch.randn(images.shape, generator=generator)
    near = ball.project(far, images, 0.5)
    torch.testing.assert_close(ball.project(near, images, 0.5), near)
    gradient = torch.randn(images.shape, generator=generator)
    step = ball.direction(gradient)
    torch.testing.assert_close(ball.length(step), torch.ones(50))
    dual = gradient.flatten(1).norm(p=1 if norm == "linf" else 2, dim=1)
    torch.testing.assert_close((gradient * step).flatten(1).sum(1), dual)
    assert torch.equal(ball.direction(torch.zeros(1, 3, 4, 4)), torch.zeros(1, 3, 4, 4))
    tiny = ball.direction(gradient * 1e-30)
    torch.testing.assert_close(tiny, step)


def test_largest_radius() -> None:
    images = torch.zeros(2, 3, 4, 5)
    assert get_norm("linf").largest(images) == 1
    assert get_norm("l2").largest(images) == pytest.approx(math.sqrt(60))
