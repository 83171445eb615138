"""The attacks beside foolbox's and AutoAttack's on a trained classifier, at equal budget: accuracy that each leaves."""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import foolbox
import numpy as np
import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from bnn_tasks.cli import errors_in_a_line
from bnn_tasks.robustness import (
    APGD,
    FGSM,
    PGD,
    Attack,
    CrossEntropyObjective,
    DLRObjective,
    MarginObjective,
    Raising,
    Square,
    TargetedDLR,
)
from bnn_tasks.tasks.robustness import CheckpointVictim, Victim
from bnn_tasks.training import TrainingCLI

Perturb = Callable[[Tensor, Tensor, int], Tensor]  # (images, labels, seed) -> attacked images
SEEDS = (0, 1)  # of the attacks that draw: Square is compared up to the spread between them


def pictures(config: str, count: int) -> tuple[Tensor, Tensor]:
    """`count` images of the test split, evenly spread, and their labels.

    Args:
        config: whose data to use.
        count: >= 1.
    """
    data = TrainingCLI(["--config", config], run=False).datamodule
    data.setup("test")
    images, labels = [], []
    for batch in data.test_dataloader():
        images.append(batch.images)
        labels.append(batch.labels)
    chosen = torch.from_numpy(np.linspace(0, len(torch.cat(labels)) - 1, count).round().astype(int))
    return torch.cat(images)[chosen], torch.cat(labels)[chosen]


def ours(victim: Victim, eps: float, attack: Attack, objective: type = CrossEntropyObjective) -> Perturb:
    """One of the package's attacks.

    Args:
        victim: that is attacked.
        eps: radius.
        attack: the attack.
        objective: (model, labels) -> what it raises.
    """
    return lambda x, y, seed: attack(objective(victim, y), x, eps, torch.Generator().manual_seed(seed)).images


def of_foolbox(net: nn.Module, eps: float, attack: foolbox.Attack) -> Perturb:
    """One of foolbox's attacks.

    Args:
        net: that is attacked.
        eps: radius.
        attack: the attack.
    """
    wrapped = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")

    def perturb(x: Tensor, y: Tensor, seed: int) -> Tensor:
        torch.manual_seed(seed)
        attacked: Tensor = attack(wrapped, x, y, epsilons=eps)[1]
        return attacked

    return perturb


def of_autoattack(build: Callable[[int], Any]) -> Perturb:
    """One of AutoAttack's attacks.

    Args:
        build: seed -> the attack, bound to its net and radius.
    """

    def perturb(x: Tensor, y: Tensor, seed: int) -> Tensor:
        found = build(seed).perturb(x, y)
        attacked: Tensor = found[1] if isinstance(found, tuple) else found
        return attacked

    return perturb


def pairs(victim: CheckpointVictim, eps: float, options: argparse.Namespace) -> dict[str, tuple[Perturb, Perturb]]:
    """Name -> our attack, and the same of another library, of equal budget.

    Args:
        victim: that is attacked.
        eps: radius.
        options: of the command line.
    """
    net, steps, queries, targets = victim.module, options.steps, options.queries, options.targets
    assert net is not None
    mine = partial(ours, victim, eps)
    common = {"n_iter": steps, "norm": "Linf", "n_restarts": 1, "eps": eps, "device": "cpu"}
    fgsm = foolbox.attacks.LinfFastGradientAttack(random_start=False)
    pgd = foolbox.attacks.LinfPGD(rel_stepsize=0.25, steps=steps)
    return {
        "FGSM": (mine(FGSM()), of_foolbox(net, eps, fgsm)),
        f"PGD-{steps}": (mine(PGD(steps, 0.25)), of_foolbox(net, eps, pgd)),
        f"APGD-CE-{steps}": (
            mine(APGD(steps)),
            of_autoattack(lambda seed: APGDAttack(net, loss="ce", seed=seed, **common)),
        ),
        f"APGD-DLR-{steps}": (
            mine(Raising(APGD(steps), DLRObjective)),
            of_autoattack(lambda seed: APGDAttack(net, loss="dlr", seed=seed, **common)),
        ),
        f"APGD-T-{steps}": (
            mine(TargetedDLR(APGD(steps), targets)),
            of_autoattack(lambda seed: APGDAttack_targeted(net, n_target_classes=targets, seed=seed, **common)),
        ),
        f"Square-{queries}": (
            mine(Square(queries), MarginObjective),
            of_autoattack(lambda seed: SquareAttack(net, norm="Linf", n_queries=queries - 2, eps=eps, seed=seed)),
        ),
    }


def accuracy_left(
    net: nn.Module, batches: Sequence[tuple[Tensor, Tensor]], eps: float, perturb: Perturb, seed: int
) -> float:
    """Share of the images that the net is right on behind an attack, whose every image must lie in the ball and in [0, 1].

    Args:
        net: that is attacked.
        batches: images and labels.
        eps: radius.
        perturb: the attack.
        seed: of the attack.
    """
    right = []
    for x, y in batches:
        attacked = perturb(x, y, seed).detach()
        assert float((attacked - x).abs().max()) <= eps + 1e-6
        assert float(attacked.min()) >= 0
        assert float(attacked.max()) <= 1
        with torch.no_grad():
            right.append(net(attacked).argmax(1) == y)
    return float(torch.cat(right).float().mean())


def main() -> None:
    """Run both sides, print a line each, and write them where `--out` says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="the config of the training")
    parser.add_argument(
        "checkpoint", help="of a real-valued classifier: a binary one's gradients have no other library"
    )
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--eps", type=float, default=1.0, help="in units of 1/255")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--targets", type=int, default=3)
    parser.add_argument("--chunk", type=int, default=250)
    parser.add_argument("--out", help="JSON file to write")
    options = parser.parse_args()
    if options.out is not None:
        Path(options.out).parent.mkdir(parents=True, exist_ok=True)  # now, and not after half an hour
    victim, eps = CheckpointVictim(options.checkpoint), options.eps / 255
    images, labels = pictures(options.config, options.images)
    net = victim.module
    assert net is not None
    left = partial(accuracy_left, net, list(zip(images.split(options.chunk), labels.split(options.chunk))), eps)
    print(f"{len(images)} images, clean {left(lambda x, y, seed: x, 0):.1%}, ε = {options.eps:g}/255")
    rows = []
    for name, sides in pairs(victim, eps, options).items():
        found, seconds = [], []
        for perturb in sides:
            start = time.monotonic()
            found.append([left(perturb, seed) for seed in SEEDS])
            seconds.append(time.monotonic() - start)
        rows.append({"attack": name, "ours": found[0], "theirs": found[1], "seconds": seconds})
        shown = "   ".join(
            f"{side} {' '.join(f'{value:.1%}' for value in values)}" for side, values in zip(("ours", "theirs"), found)
        )
        print(f"{name:<14} {shown}   {seconds[0]:.0f} s, {seconds[1]:.0f} s", flush=True)
    if options.out is not None:
        Path(options.out).write_text(json.dumps({**vars(options), "rows": rows}, indent=1))


if __name__ == "__main__":
    with errors_in_a_line("compare_attacks.py"):
        main()
