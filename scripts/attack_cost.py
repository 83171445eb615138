"""What PGD costs beside the passes that it cannot do without: PGD-20 against 20 forward and backward passes.

Times are CPU seconds of one thread; the two take turns and medians are compared. The passes ask for the images' gradient alone,
as an attack does, and keep no book. No image is ever lost, so that the attack cannot save passes on those that are.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bnn_tasks.backbones import BiRealBlock, Block, CifarResNet, RealBlock
from bnn_tasks.robustness.attacks import APGD, PGD, Attack
from bnn_tasks.robustness.attacks.transfer import Unbroken
from bnn_tasks.robustness.objective import CrossEntropyObjective, Model

STEPS = 20
KINDS: dict[str, type[Block]] = {"real": RealBlock, "bireal": BiRealBlock}


def resnet20(block: type[Block]) -> Model:
    """CIFAR's ResNet-20, the last maps' mean as its logits, in eval mode, its weights without gradients."""
    net: nn.Module = CifarResNet(20, block).eval().requires_grad_(False)
    return lambda images: net(images)[0].float().mean(dim=(2, 3))


def passes(model: Model, images: Tensor, labels: Tensor) -> None:
    """`STEPS` gradients of the cross-entropy with respect to the images."""
    for _ in range(STEPS):
        x = images.detach().requires_grad_()
        torch.autograd.grad(nn.functional.cross_entropy(model(x), labels, reduction="sum"), x)


def medians(jobs: list[Callable[[], object]], rounds: int) -> list[float]:
    """CPU seconds of each job, which take turns; the first round does not count."""
    times: list[list[float]] = [[] for _ in jobs]
    for number in range(rounds + 1):
        for job, mine in zip(jobs, times):
            start = time.process_time()
            job()
            if number:
                mine.append(time.process_time() - start)
    return [statistics.median(mine) for mine in times]


def main() -> None:
    """Print a row a net."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images, labels = torch.rand(arguments.batch, 3, 32, 32), torch.arange(arguments.batch) % 10
    attacks: list[Attack] = [PGD(STEPS), APGD(STEPS)]
    print(f"{'net':<8} {'20 passes':>10}  {'PGD-20':>16}  {'APGD-20':>16}")
    for kind, block in KINDS.items():
        model = resnet20(block)
        objective = Unbroken(CrossEntropyObjective(model, labels))

        def run(attack: Attack, objective: Unbroken = objective) -> Callable[[], object]:
            return lambda: attack(objective, images, 8 / 255, torch.Generator().manual_seed(0))

        def alone(model: Model = model) -> None:
            passes(model, images, labels)

        base, *others = medians([alone, *map(run, attacks)], arguments.rounds)
        print(f"{kind:<8} {base:>8.2f} s" + "".join(f"  {value:>7.2f} s ({value / base:.2f}×)" for value in others))


if __name__ == "__main__":
    main()
