"""Attacks made of attacks: transfer, expectation, worst case, surrogate sweep."""

import torch
from attack_victims import Linear, Watched, binary_net, generated, real_net, seeded
from torch import Tensor

from bnn_tasks.binary import STE, spread_tanh, surrogate_in_force
from bnn_tasks.robustness.attacks import (
    APGD,
    EOT,
    FGSM,
    MIFGSM,
    PGD,
    Attack,
    Attacked,
    Ledger,
    MeanLogits,
    Raising,
    RandomNoise,
    SurrogateSweep,
    Transfer,
    WorstCase,
)
from bnn_tasks.robustness.attacks.eot import MeanObjective
from bnn_tasks.robustness.dlr import DLRObjective
from bnn_tasks.robustness.norms import get_norm
from bnn_tasks.robustness.objective import CrossEntropyObjective, MarginObjective, Objective


class Breaks(Attack):
    """Breaks the images whose first value is in a set, by writing 1 there."""

    norm = get_norm("linf")

    def __init__(self, name: str, values: list[float]) -> None:
        self.name, self.values, self.sizes, self.surrogates = name, values, [], []

    def __call__(self, objective: Objective, images: Tensor, eps: float, generator: torch.Generator) -> Attacked:
        self.sizes.append(len(images))
        self.surrogates.append(surrogate_in_force())
        ledger = Ledger(objective, images)
        hit = torch.isin(images[:, 0, 0, 0], torch.tensor(self.values)).nonzero()[:, 0]
        changed = images[hit].clone()
        changed[:, 0, 0, 0] = 1
        ledger.try_out(hit, changed)
        return ledger.result()


def _numbered(count: int) -> tuple[Watched, Tensor]:
    """Images whose first value is their number in sixteenths; one is lost where it is 1."""
    images = torch.full((count, 3, 4, 4), 0.5)
    images[:, 0, 0, 0] = torch.arange(count) / 16
    return Watched(Linear(), torch.zeros(count, dtype=torch.int64), lambda x: x[:, 0, 0, 0] == 1, []), images


def test_worst_case_is_image_by_image_and_spares_the_lost() -> None:
    objective, images = _numbered(6)
    first, second, third = Breaks("a", [0, 1 / 16]), Breaks("b", [1 / 16, 2 / 16]), Breaks("c", [5 / 16])
    found = WorstCase([first, second, third])(objective, images, 1.0, seeded())
    assert found.broken.tolist() == [True, True, True, False, False, True]
    assert [first.sizes, second.sizes, third.sizes] == [[6], [4], [3]]
    broke = {name: lost.nonzero()[:, 0].tolist() for name, lost in found.members.items()}
    assert broke == {"a": [0, 1], "b": [2], "c": [5]}
    assert torch.equal(found.images[3:5], images[3:5])


def test_worst_case_over_losses_beats_each() -> None:
    images, labels = generated(100)
    objective = CrossEntropyObjective(binary_net(), labels)
    attacks = [FGSM(), PGD(10), Raising(APGD(10), DLRObjective)]
    found = WorstCase(attacks)(objective, images, 0.03, seeded())
    counts = [int(attack(objective, images, 0.03, seeded()).broken.sum()) for attack in attacks]
    assert int(found.broken.sum()) >= max(counts) - 3  # starts differ
    assert sum(int(lost.sum()) for lost in found.members.values()) == int(
        (found.broken & ~objective.broken(images)).sum()
    )


def test_worst_case_needs_gradients_if_a_member_does() -> None:
    assert WorstCase([RandomNoise(), PGD()]).needs_gradient
    assert not WorstCase([RandomNoise(), Transfer(PGD(), [real_net()], "twin")]).needs_gradient


def test_sweep_runs_every_member_on_every_image_under_its_surrogate() -> None:
    images, labels = generated(20)
    objective = CrossEntropyObjective(binary_net(), labels)
    identity, sharp = STE(), spread_tanh(3)
    seen: list[object] = []

    class Watching(PGD):
        def __call__(self, objective: Objective, images: Tensor, eps: float, generator: torch.Generator) -> Attacked:
            seen.append((len(images), surrogate_in_force()))
            return super().__call__(objective, images, eps, generator)

    found = SurrogateSweep(Watching(4), {"identity": identity, "sharp": sharp})(objective, images, 0.03, seeded())
    assert seen == [(20, None), (20, identity), (20, sharp)]
    assert list(found.members) == ["own", "identity", "sharp"]
    assert torch.equal(found.broken, found.members["own"] | found.members["identity"] | found.members["sharp"])
    assert surrogate_in_force() is None


def test_sweep_of_a_real_net_stops_after_its_first_member() -> None:
    images, labels = generated(20)
    seen: list[Tensor] = []
    objective = Watched(real_net(), labels, lambda x: torch.zeros(len(x), dtype=torch.bool), seen)
    found = SurrogateSweep(PGD(4))(objective, images, 0.03, seeded())
    assert len(seen) == 1 + 2 * (1 + 4 + 1)
    assert len(found.members) == 7
    assert all(torch.equal(lost, found.members["own"]) for lost in found.members.values())


def test_the_sweep_finds_what_pgd_through_the_own_surrogate_does_not() -> None:
    images, labels = generated(50)
    objective, eps = CrossEntropyObjective(binary_net(), labels), 0.03
    sweep = SurrogateSweep(PGD(20))
    members = sweep(objective, images, eps, seeded()).broken
    starts = 1 + len(sweep.surrogates)
    own = PGD(20, restarts=starts)(objective, images, eps, seeded()).broken  # of equal budget
    finer = PGD(60, 0.1)(objective, images, eps, seeded()).broken
    assert not objective.broken(images).any()
    assert int(members.sum()) >= int(own.sum()) + 10
    assert int(members.sum()) >= int(finer.sum()) + 10


def test_transfer_perturbs_on_the_sources_and_judges_on_the_victim() -> None:
    images, labels = generated(60)
    shown: list[Tensor] = []

    def victim(x: Tensor) -> Tensor:
        assert not x.requires_grad
        shown.append(x.clone())
        return binary_net()(x)

    objective = CrossEntropyObjective(victim, labels)
    assert not objective.broken(images).any()
    shown.clear()
    found = Transfer(MIFGSM(8), [real_net()], "twin")(objective, images, 0.15, seeded())
    assert [len(batch) for batch in shown] == [60, 60, int(found.broken.sum())]
    source = CrossEntropyObjective(real_net(), labels)
    with torch.no_grad():
        assert (source(shown[1]) > source(images)).all()
    assert torch.equal(found.images[found.broken], shown[1][found.broken])
    assert torch.equal(found.queries, torch.where(found.broken, 3, 2))
    noise = RandomNoise()(objective, images, 0.15, seeded())
    assert int(found.broken.sum()) > int(noise.broken.sum()) + 5


def test_a_transfer_climbs_beyond_the_sources_border() -> None:
    """A source's first mistake is the least of perturbations: a transfer must not stop there."""
    source, images, shown = Linear(), torch.full((2, 3, 4, 4), 0.5), []

    def victim(x: Tensor) -> Tensor:
        shown.append(x.clone())
        return torch.tensor([[1.0, 0.0]]).expand(len(x), 2)

    best = images + 0.1 * source.w.sign()
    assert (source(best).argmax(1) == 1).all()
    objective = MarginObjective(victim, torch.zeros(2, dtype=torch.int64))
    found = Transfer(PGD(8, random_start=False), [source], "another")(objective, images, 0.1, seeded())
    torch.testing.assert_close(shown[-1], best)
    assert not found.broken.any()


def test_ensemble_is_the_mean_of_logits() -> None:
    images, _ = generated(5)
    ensemble = MeanLogits([real_net(), lambda x: 3 * real_net()(x)])
    torch.testing.assert_close(ensemble(images), 2 * real_net()(images))


class Noisy:
    """A model whose answers to one image differ: the linear one, plus noise of its own."""

    def __init__(self, size: float) -> None:
        self.model, self.size, self.generator = Linear(), size, seeded(11)

    def __call__(self, images: Tensor) -> Tensor:
        noise = torch.randn(images.shape, generator=self.generator) * self.size
        return self.model((images + noise) ** 2) / 100  # far from a saturated softmax


def test_expectation_averages_draws() -> None:
    images = torch.rand(3, 3, 4, 4, generator=seeded()).requires_grad_()
    labels = torch.tensor([0, 1, 0])
    mean = MeanObjective(MarginObjective(Noisy(0.3), labels), 5)
    (found,) = torch.autograd.grad(mean(images).sum(), images)
    single, total = MarginObjective(Noisy(0.3), labels), torch.zeros_like(images)
    for _ in range(5):
        total += torch.autograd.grad(single(images).sum(), images)[0]
    torch.testing.assert_close(found, total / 5)


def test_expectation_takes_the_majority() -> None:
    votes = iter([True, False, True, False, True, False, False, True, False, True])
    objective = Watched(Linear(), torch.zeros(1, dtype=torch.int64), lambda x: torch.tensor([next(votes)]), [])
    mean = MeanObjective(objective, 5)
    images = torch.rand(1, 3, 4, 4, generator=seeded())
    assert mean.broken(images).tolist() == [True]
    assert mean.broken(images).tolist() == [False]


def test_expectation_follows_the_noise_free_direction() -> None:
    images = torch.full((20, 3, 4, 4), 0.5)
    wanted = Linear().w.sign()

    def agreement(attack: Attack) -> float:
        objective = MarginObjective(Noisy(2.0), torch.zeros(20, dtype=torch.int64))
        stubborn = Watched(objective.model, objective.labels, lambda x: torch.zeros(len(x), dtype=torch.bool), [])
        moved = attack(stubborn, images, 0.1, seeded()).images - images
        return float((moved.sign() * wanted).mean())

    assert agreement(EOT(FGSM(), 100)) > agreement(FGSM()) + 0.3
