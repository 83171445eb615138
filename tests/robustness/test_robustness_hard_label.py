"""HopSkipJump: distances to known boundaries, what it may see, and foolbox."""

import pytest
import torch
from attack_victims import generated, real_net, seeded
from torch import Tensor, nn

from bnn_tasks.robustness.attacks import FGSM, WorstCase
from bnn_tasks.robustness.attacks.hop_skip_jump import HopSkipJump
from bnn_tasks.robustness.objective import MarginObjective, Objective

NORMS = ("linf", "l2")


def length(delta: Tensor, norm: str) -> Tensor:
    return delta.flatten(1).abs().amax(1) if norm == "linf" else delta.flatten(1).norm(dim=1)


class HalfSpace(Objective):
    """Lost where <w, x> > b; it answers with labels alone."""

    def __init__(self, weight: Tensor, bounds: Tensor) -> None:
        self.weight, self.bounds = weight, bounds
        self.asked = 0

    def broken(self, images: Tensor) -> Tensor:
        self.asked += len(images)
        return (images * self.weight).flatten(1).sum(1) > self.bounds

    def select(self, index: Tensor) -> "HalfSpace":
        selected = HalfSpace(self.weight, self.bounds[index])
        selected.broken = lambda images: self._counted(selected, images)  # type: ignore[method-assign]
        return selected

    def _counted(self, selected: "HalfSpace", images: Tensor) -> Tensor:
        self.asked += len(images)
        return HalfSpace.broken(selected, images)


@pytest.fixture(scope="module")
def victim() -> nn.Module:
    return real_net()


@pytest.mark.parametrize("norm", NORMS)
def test_the_distance_to_a_plane(norm: str) -> None:
    """The distance is margin/‖w‖ in the dual norm, as long as no value meets 0 or 1."""
    weight = torch.randn(1, 4, 4, generator=seeded(0))
    images = 0.4 + 0.2 * torch.rand(6, 1, 4, 4, generator=seeded(1))
    margin = 0.1 * weight.norm()
    objective = HalfSpace(weight, (images * weight).flatten(1).sum(1) + margin)
    attack = HopSkipJump(steps=12, evaluations=60, norm=norm)
    lost, distances = attack.smallest(objective, images, seeded(2))
    least = margin / (weight.norm() if norm == "l2" else weight.abs().sum())
    assert objective.broken(lost).all()
    torch.testing.assert_close(distances, length(lost - images, norm))
    assert (distances >= least * 0.999).all()
    assert float(distances.median()) < 1.1 * least


@pytest.mark.parametrize("norm", NORMS)
def test_more_steps_come_nearer(norm: str, victim: nn.Module) -> None:
    images, labels = generated(12)
    medians = [
        float(
            HopSkipJump(steps, 40, norm=norm).smallest(MarginObjective(victim, labels), images, seeded(0))[1].median()
        )
        for steps in (1, 4, 12)
    ]
    assert medians[0] > medians[1] > medians[2] > 0


@pytest.mark.parametrize("norm", NORMS)
def test_an_attack_within_a_ball(norm: str, victim: nn.Module) -> None:
    images, labels = generated(16)
    labels = labels.clone()
    labels[0] = (labels[0] + 1) % 5  # lost from the start
    objective = MarginObjective(victim, labels)
    attack = HopSkipJump(steps=6, evaluations=40, norm=norm)
    nearest, distances = attack.smallest(objective, images, seeded(0))
    assert float(distances[0]) == 0
    assert torch.equal(nearest[0], images[0])
    eps = float(distances.median())
    found = attack(objective, images, eps, seeded(0))
    assert (length(found.images - images, norm) <= eps * (1 + 1e-5)).all()
    assert float(found.images.min()) >= 0
    assert float(found.images.max()) <= 1
    assert 1 < found.broken.sum() < 16
    assert objective.broken(found.images)[found.broken].all()
    assert torch.equal(found.losses, found.broken.float())
    assert found.queries[0] == 1
    assert found.queries[found.broken].float().mean() < found.queries[~found.broken].float().mean(), "done once lost"
    assert len(found.trace) <= 6
    assert attack.name == "HopSkipJump-6"
    again = attack(objective, images, eps, seeded(0))
    assert torch.equal(again.images, found.images)


def test_beside_attacks_that_see_values_the_best_image_is_kept(victim: nn.Module) -> None:
    images, labels = generated(32)
    objective = MarginObjective(victim, labels)
    attack = WorstCase([FGSM(), HopSkipJump(steps=1, evaluations=5, norm="linf")])
    found = attack(objective, images, 0.01, seeded(0))
    assert not found.broken.all()
    torch.testing.assert_close(found.losses, objective(found.images))


def test_every_question_is_counted() -> None:
    weight = torch.randn(1, 4, 4, generator=seeded(0))
    images = torch.full((5, 1, 4, 4), 0.5)
    objective = HalfSpace(weight, (images * weight).flatten(1).sum(1) + 0.1)
    found = HopSkipJump(steps=3, evaluations=20, batch=7)(objective, images, 1e-6, seeded(0))
    assert objective.asked == int(found.queries.sum())
    # the image itself, noise, and in three steps at least the probes
    assert int(found.queries.min()) > 20 * (1 + 2**0.5 + 3**0.5)


def test_the_batch_of_the_probes_changes_little(victim: nn.Module) -> None:
    images, labels = generated(6)
    one, other = (
        HopSkipJump(4, 30, batch=batch).smallest(MarginObjective(victim, labels), images, seeded(0))[1].median()
        for batch in (5, 5000)
    )
    assert float(one) == pytest.approx(float(other), rel=0.3)


def test_a_start_from_another_picture_where_noise_is_not_lost() -> None:
    """Lost only where nearly all is bright: noise never is, the batch's second picture is."""
    images = torch.stack([torch.full((1, 4, 4), 0.1), torch.full((1, 4, 4), 0.99)])
    objective = HalfSpace(torch.ones(1, 4, 4), torch.full((2,), 15.0))
    lost, distances = HopSkipJump(2, 10, norm="l2").smallest(objective, images, seeded(0))
    assert distances[1] == 0
    assert float(distances[0]) == pytest.approx((15 / 16 - 0.1) * 4, rel=3e-2)
    assert objective.broken(lost).all()


def test_an_image_without_a_start_is_left_alone() -> None:
    images = torch.rand(3, 1, 4, 4, generator=seeded(0))
    never = HalfSpace(torch.ones(1, 4, 4), torch.full((3,), 17.0))
    attack = HopSkipJump(2, 10, starts=2)
    lost, distances = attack.smallest(never, images, seeded(0))
    assert distances.isinf().all()
    assert torch.equal(lost, images)
    found = attack(never, images, 0.5, seeded(0))
    assert not found.broken.any()
    assert torch.equal(found.images, images)


@pytest.mark.parametrize("norm", NORMS)
def test_agreement_with_foolbox(norm: str, victim: nn.Module) -> None:
    """One picture at a time there: of a batch it divides the normal by the length of all its images together."""
    foolbox = pytest.importorskip("foolbox", reason="foolbox is not installed")
    images, labels = generated(9)
    model = foolbox.PyTorchModel(victim, bounds=(0, 1), device="cpu")
    other = foolbox.attacks.HopSkipJumpAttack(steps=5, initial_gradient_eval_steps=50, constraint=norm)
    torch.manual_seed(0)
    theirs = torch.cat([other.run(model, images[i : i + 1], labels[i : i + 1]) for i in range(len(images))])
    expected = float(length(theirs - images, norm).median())
    _, ours = HopSkipJump(5, 50, norm=norm).smallest(MarginObjective(victim, labels), images, seeded(0))
    assert float(ours.median()) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "`steps` to be >= 1"),
        ({"evaluations": 1}, "`evaluations` to be >= 2"),
        ({"evaluations": 50, "most_evaluations": 40}, "`most_evaluations` to be >= 50, but got 40"),
        ({"starts": 0}, "`starts`"),
        ({"batch": 0}, "`batch`"),
        ({"norm": "l0"}, "`norm`.*'l0'"),
    ],
)
def test_what_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HopSkipJump(**arguments)


def test_images_that_are_refused(victim: nn.Module) -> None:
    labels = torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"`images` in \[0, 1\]"):
        HopSkipJump()(MarginObjective(victim, labels), torch.full((1, 3, 8, 8), -0.5), 0.1, seeded(0))
    with pytest.raises(ValueError, match="`eps`"):
        HopSkipJump(norm="linf")(MarginObjective(victim, labels), torch.rand(1, 3, 8, 8), 2.0, seeded(0))
