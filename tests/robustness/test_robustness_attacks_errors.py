import copy
import re
from collections.abc import Callable

import pytest
import torch
from attack_victims import Linear, generated, real_net, seeded
from torch import Tensor

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
    HopSkipJump,
    MeanLogits,
    Raising,
    RandomNoise,
    SurrogateSweep,
    TargetedDLR,
    TemperatureScaled,
    Transfer,
    WorstCase,
)
from bnn_tasks.robustness.attacks.unbroken import Unbroken
from bnn_tasks.robustness.dlr import DLRObjective
from bnn_tasks.robustness.objective import CrossEntropyObjective, MarginObjective

ATTACKS = [FGSM(), RFGSM(), PGD(2), MIFGSM(2), APGD(2), RandomNoise(), CarliniWagner(2, 1)]


def _attack(attack: Attack, images: Tensor, eps: float = 0.1) -> None:
    objective = CrossEntropyObjective(real_net(), torch.zeros(len(images), dtype=torch.int64))
    attack(objective, images, eps, seeded())


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_bad_images(attack: Attack) -> None:
    good = torch.rand(3, 3, 8, 8, generator=seeded())
    for value in (-0.01, 1.01, float("nan"), float("inf")):
        bad = good.clone()
        bad[1, 0, 2, 2] = value
        with pytest.raises(ValueError, match="image 1 of the batch"):
            _attack(attack, bad)
    with pytest.raises(ValueError, match="look normalised"):
        _attack(attack, (good - 0.45) / 0.22)
    with pytest.raises(ValueError, match="look like bytes"):
        _attack(attack, good * 255)
    with pytest.raises(TypeError, match=r"/ 255"):
        _attack(attack, (good * 255).to(torch.uint8))
    with pytest.raises(ValueError, match=re.escape("(B, C, H, W)")):
        _attack(attack, good[0])
    with pytest.raises(ValueError, match="B >= 1"):
        _attack(attack, good[:0])


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
@pytest.mark.parametrize("eps", [-0.1, 8.0, 1000.0, float("nan")])
def test_bad_radius(attack: Attack, eps: float) -> None:
    if attack.name.startswith("C&W") and eps == 8.0:  # a length of 8 exists between two images of 192 values
        return
    with pytest.raises(ValueError, match=r"`eps` to be in \[0, "):
        _attack(attack, torch.rand(2, 3, 8, 8, generator=seeded()), eps)


@pytest.mark.parametrize(
    "build",
    [
        lambda: PGD(0),
        lambda: PGD(restarts=0),
        lambda: PGD(step_size=-1),
        lambda: PGD(step_size=float("nan")),
        lambda: PGD(restarts=2, random_start=False),
        lambda: PGD(norm="l1"),
        lambda: FGSM("L2"),
        lambda: RFGSM(1.0),
        lambda: MIFGSM(0),
        lambda: MIFGSM(decay=-1),
        lambda: APGD(0),
        lambda: APGD(restarts=0),
        lambda: CarliniWagner(0),
        lambda: CarliniWagner(confidence=-1),
        lambda: RandomNoise(0),
        lambda: EOT(PGD(), 0),
        lambda: NJS(0),
        lambda: TargetedDLR(APGD(), 0),
        lambda: MeanLogits([]),
        lambda: WorstCase([]),
        lambda: WorstCase([PGD(), PGD()]),
        lambda: WorstCase([FGSM(), EOT(PGD(norm="l2"))]),
        lambda: SurrogateSweep(RandomNoise()),
        lambda: SurrogateSweep(PGD(), {"own": torch.nn.Identity()}),
    ],
)
def test_bad_settings(build: object) -> None:
    with pytest.raises(ValueError, match="Expected"):
        build()  # type: ignore[operator]


def test_a_model_in_train_mode() -> None:
    with pytest.raises(ValueError, match="eval mode"):
        CrossEntropyObjective(torch.nn.BatchNorm2d(3), torch.zeros(2, dtype=torch.int64))


def test_labels_that_are_none() -> None:
    for labels in (torch.zeros(2), torch.zeros(2, 1, dtype=torch.int64)):
        with pytest.raises(ValueError, match="`labels` to be"):
            CrossEntropyObjective(real_net(), labels)


def test_too_few_classes() -> None:
    images = torch.rand(2, 3, 4, 4, generator=seeded())
    two = CrossEntropyObjective(Linear(), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r">= 3 classes .* but got 2"):
        Raising(PGD(2), DLRObjective)(two, images, 0.1, seeded())
    with pytest.raises(ValueError, match=r">= 4 classes .* but got 2"):
        TargetedDLR(PGD(2), 1)(two, images, 0.1, seeded())
    images, labels = generated(3)
    five = CrossEntropyObjective(real_net(), labels)
    with pytest.raises(ValueError, match=">= 10 classes for 9 target"):
        TargetedDLR(PGD(2))(five, images, 0.1, seeded())
    TargetedDLR(PGD(2), 4)(five, images, 0.1, seeded())


def test_what_knows_classifiers_alone_says_so() -> None:
    images, labels = generated(2)
    other = Unbroken(CrossEntropyObjective(real_net(), labels))
    for attack in (
        Raising(PGD(2), DLRObjective),
        TargetedDLR(PGD(2), 2),
        CarliniWagner(2, 1),
        TemperatureScaled(PGD(2), NJS()),
        Transfer(PGD(2), [real_net()], "itself"),
    ):
        with pytest.raises(TypeError, match="ClassificationObjective"):
            attack(other, images, 0.1, seeded())


def test_models_without_gradients() -> None:
    images = torch.rand(2, 3, 4, 4, generator=seeded()) * 0.1 + 0.45
    labels = Linear()(images).argmax(1)
    with pytest.raises(ValueError, match="no gradient reaches"):
        PGD(2)(MarginObjective(lambda x: Linear()(x.detach()), labels), images, 0.01, seeded())
    with pytest.raises(ValueError, match="gradients without NaN"):
        PGD(2)(MarginObjective(lambda x: Linear()(x) + 0 * (x - x).sqrt().sum(), labels), images, 0.001, seeded())
    with torch.inference_mode(), pytest.raises(ValueError, match="inference_mode"):
        PGD(2)(MarginObjective(Linear(), labels), images, 0.001, seeded())


def test_a_step_before_the_logits_leaves_pgd_where_it_started() -> None:
    images = torch.rand(2, 3, 4, 4, generator=seeded()) * 0.1 + 0.45
    labels = Linear()(images).argmax(1)
    found = PGD(3, random_start=False)(MarginObjective(lambda x: Linear()(x).round(), labels), images, 0.01, seeded())
    assert torch.equal(found.images, images)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.uint8])
def test_images_are_float32_or_float64(dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=r"float32 or float64 .* Cure: images\.float"):
        _attack(PGD(1), torch.zeros(2, 3, 8, 8, dtype=dtype), 0.1)


@pytest.mark.parametrize("attack", [HopSkipJump(2, norm="linf"), HopSkipJump(2), TemperatureScaled(PGD(2), HNS())])
def test_images_may_be_float64(attack: Attack) -> None:
    images, labels = generated(4)
    model = copy.deepcopy(real_net()).double()  # the net itself is the other tests' too
    found = attack(CrossEntropyObjective(model, labels), images.double(), 0.1, seeded())
    assert found.images.dtype == torch.float64
    assert attack.norm.length(found.images - images).max() <= 0.1 + 1e-6
    assert torch.equal(found.broken, model(found.images).argmax(1) != labels)


@pytest.mark.parametrize(
    "build",
    [
        lambda: EOT(Raising(PGD(), DLRObjective)),
        lambda: TemperatureScaled(TargetedDLR(PGD(), 2), NJS()),
        lambda: Transfer(Raising(PGD(), DLRObjective), [real_net()], "itself"),
    ],
)
def test_an_attack_goes_into_what_it_can_attack(build: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match="takes ClassificationObjective alone"):
        build()


def test_labels_alone_make_no_transfer() -> None:
    for attack in (HopSkipJump(2), EOT(HopSkipJump(2)), Raising(HopSkipJump(2), DLRObjective)):
        assert not attack.sees_values
    with pytest.raises(ValueError, match="asks alone what is lost"):
        Transfer(EOT(HopSkipJump(2)), [real_net()], "itself")


def test_every_source_is_in_eval_mode() -> None:
    source = torch.nn.BatchNorm2d(3)
    for sources in ([source], [real_net(), source]):
        with pytest.raises(ValueError, match="BatchNorm2d is in train mode"):
            Transfer(PGD(1), sources, "itself")
