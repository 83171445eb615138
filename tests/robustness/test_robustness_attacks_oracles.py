"""Agreement with foolbox and AutoAttack on a float net, at equal budget and radius."""

from typing import Any

import pytest
import torch
from attack_victims import generated, real_net, seeded
from torch import Tensor

from bnn_tasks.robustness.attacks import APGD, FGSM, PGD, Attack, Raising, TargetedDLR
from bnn_tasks.robustness.dlr import DLRObjective
from bnn_tasks.robustness.objective import CrossEntropyObjective

COUNT = 400
POINT = COUNT // 100  # one point of accuracy, in images


def _ours(attack: Attack, eps: float) -> Tensor:
    images, labels = generated(COUNT)
    return attack(CrossEntropyObjective(real_net(), labels), images, eps, seeded()).broken


def _foolbox(attack: Any, eps: float) -> Tensor:
    foolbox = pytest.importorskip("foolbox", reason="the oracle is in the extra `robust-test`")
    images, labels = generated(COUNT)
    model = foolbox.PyTorchModel(real_net(), bounds=(0, 1), device="cpu")
    torch.manual_seed(0)
    _, _, broken = attack(foolbox.attacks)(model, images, labels, epsilons=eps)
    return broken


def _autoattack(eps: float, norm: str, loss: str, steps: int, targets: int = 0) -> Tensor:
    base = pytest.importorskip("pyautoattack.autopgd_base", reason="the oracle is in the extra `robust-test`")
    images, labels = generated(COUNT)
    arguments = {"n_iter": steps, "norm": norm, "n_restarts": 1, "eps": eps, "seed": 0, "device": "cpu"}
    if targets:
        attack = base.APGDAttack_targeted(real_net(), n_target_classes=targets, **arguments)
    else:
        attack = base.APGDAttack(real_net(), loss=loss, **arguments)
    with torch.random.fork_rng():
        adversarial = attack.perturb(images, labels)
    adversarial = adversarial[1] if isinstance(adversarial, tuple) else adversarial
    return real_net()(adversarial).argmax(1) != labels


def _check(ours: Tensor, theirs: Tensor) -> None:
    assert COUNT * 0.2 < int(theirs.sum()) < COUNT * 0.9, "a radius at which nothing shows"
    assert abs(int(ours.sum()) - int(theirs.sum())) <= POINT


def test_fgsm_breaks_the_very_images() -> None:
    theirs = _foolbox(lambda attacks: attacks.LinfFastGradientAttack(random_start=False), 0.06)
    assert torch.equal(_ours(FGSM(), 0.06), theirs)
    theirs = _foolbox(lambda attacks: attacks.L2FastGradientAttack(random_start=False), 0.6)
    assert torch.equal(_ours(FGSM("l2"), 0.6), theirs)


def test_pgd_linf() -> None:
    theirs = _foolbox(lambda attacks: attacks.LinfPGD(rel_stepsize=0.1, steps=20), 0.06)
    _check(_ours(PGD(20, 0.1), 0.06), theirs)


def test_pgd_l2() -> None:
    theirs = _foolbox(lambda attacks: attacks.L2PGD(rel_stepsize=0.1, steps=20), 0.6)
    _check(_ours(PGD(20, 0.1, norm="l2"), 0.6), theirs)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.06), ("l2", 0.6)])
def test_apgd_cross_entropy(norm: str, eps: float) -> None:
    theirs = _autoattack(eps, {"linf": "Linf", "l2": "L2"}[norm], "ce", 50)
    _check(_ours(APGD(50, norm=norm), eps), theirs)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.06), ("l2", 0.6)])
def test_apgd_dlr(norm: str, eps: float) -> None:
    theirs = _autoattack(eps, {"linf": "Linf", "l2": "L2"}[norm], "dlr", 50)
    _check(_ours(Raising(APGD(50, norm=norm), DLRObjective), eps), theirs)


def test_apgd_targeted() -> None:
    _check(_ours(TargetedDLR(APGD(30), 3), 0.06), _autoattack(0.06, "Linf", "dlr-targeted", 30, targets=3))
