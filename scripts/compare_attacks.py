"""The attacks beside foolbox's and AutoAttack's on a trained classifier, at equal budget: accuracy that each leaves."""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import foolbox
import numpy as np
import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.square import SquareAttack
from torch import Tensor

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
from bnn_tasks.tasks.robustness import CheckpointVictim
from bnn_tasks.training import TrainingCLI

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
    victim, eps, steps = CheckpointVictim(options.checkpoint), options.eps / 255, options.steps
    images, labels = pictures(options.config, options.images)
    net = victim.module
    assert net is not None
    wrapped = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")

    def left(function: Callable[[Tensor, Tensor, int], Tensor], seed: int = 0) -> float:
        """Accuracy behind `function`: (images, labels, seed) -> attacked images."""
        right = 0
        for x, y in zip(images.split(options.chunk), labels.split(options.chunk)):
            attacked = function(x, y, seed).detach()
            assert float((attacked - x).abs().max()) <= eps + 1e-6
            assert float(attacked.min()) >= 0
            assert float(attacked.max()) <= 1
            with torch.no_grad():
                right += int((net(attacked).argmax(1) == y).sum())
        return right / len(images)

    def ours(attack: Attack, objective: type = CrossEntropyObjective) -> Callable[[Tensor, Tensor, int], Tensor]:
        return lambda x, y, seed: attack(objective(victim, y), x, eps, torch.Generator().manual_seed(seed)).images

    def theirs_foolbox(attack: object) -> Callable[[Tensor, Tensor, int], Tensor]:
        def run(x: Tensor, y: Tensor, seed: int) -> Tensor:
            torch.manual_seed(seed)
            return attack(wrapped, x, y, epsilons=eps)[1]  # type: ignore[operator]

        return run

    def theirs(build: Callable[[int], object]) -> Callable[[Tensor, Tensor, int], Tensor]:
        def run(x: Tensor, y: Tensor, seed: int) -> Tensor:
            found = build(seed).perturb(x, y)  # type: ignore[attr-defined]
            return found[1] if isinstance(found, tuple) else found

        return run

    common = {"n_iter": steps, "norm": "Linf", "n_restarts": 1, "eps": eps, "device": "cpu"}
    pairs = {
        "FGSM": (ours(FGSM()), theirs_foolbox(foolbox.attacks.LinfFastGradientAttack(random_start=False))),
        f"PGD-{steps}": (
            ours(PGD(steps, 0.25)),
            theirs_foolbox(foolbox.attacks.LinfPGD(rel_stepsize=0.25, steps=steps)),
        ),
        f"APGD-CE-{steps}": (ours(APGD(steps)), theirs(lambda seed: APGDAttack(net, loss="ce", seed=seed, **common))),
        f"APGD-DLR-{steps}": (
            ours(Raising(APGD(steps), DLRObjective)),
            theirs(lambda seed: APGDAttack(net, loss="dlr", seed=seed, **common)),
        ),
        f"APGD-T-{steps}": (
            ours(TargetedDLR(APGD(steps), options.targets)),
            theirs(lambda seed: APGDAttack_targeted(net, n_target_classes=options.targets, seed=seed, **common)),
        ),
        f"Square-{options.queries}": (
            ours(Square(options.queries), MarginObjective),
            theirs(lambda seed: SquareAttack(net, norm="Linf", n_queries=options.queries - 2, eps=eps, seed=seed)),
        ),
    }
    rows = []
    print(f"{len(images)} images, clean {left(lambda x, y, seed: x):.1%}, ε = {options.eps:g}/255")
    for name, (mine, other) in pairs.items():
        start = time.monotonic()
        found = [left(mine, seed) for seed in SEEDS]
        between = time.monotonic()
        expected = [left(other, seed) for seed in SEEDS]
        seconds = between - start, time.monotonic() - between
        rows.append({"attack": name, "ours": found, "theirs": expected, "seconds": seconds})
        print(
            f"{name:<14} ours {' '.join(f'{v:.1%}' for v in found)}   theirs {' '.join(f'{v:.1%}' for v in expected)}   "
            f"{seconds[0]:.0f} s, {seconds[1]:.0f} s",
            flush=True,
        )
    if options.out is not None:
        Path(options.out).write_text(json.dumps({**vars(options), "rows": rows}, indent=1))


if __name__ == "__main__":
    with errors_in_a_line("compare_attacks.py"):
        main()
