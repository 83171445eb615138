"""Victims of attacks: tiny nets, and images that some of them get right."""

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn_tasks.binary import BinaryConv2d
from bnn_tasks.robustness.objective import ClassificationObjective

CLASSES = 5
SIDE = 8


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@cache
def generated(count: int, spread: float = 0.12) -> tuple[Tensor, Tensor]:
    """Images of five random templates with noise, (count, 3, 8, 8) in [0, 1], and their labels."""
    generator = seeded(7)
    templates = torch.rand(CLASSES, 3, SIDE, SIDE, generator=generator) * 0.5 + 0.25
    labels = torch.randint(CLASSES, (count,), generator=generator)
    noise = torch.randn(count, 3, SIDE, SIDE, generator=generator)
    return (templates[labels] + spread * noise).clamp(0, 1), labels


def fit(net: nn.Module, steps: int, rate: float = 1e-2) -> nn.Module:
    """Train on the generated images, and freeze."""
    images, labels = generated(400)
    optimizer = torch.optim.Adam(net.parameters(), rate)
    for step in range(steps):
        part = slice(step % 4 * 100, step % 4 * 100 + 100)
        optimizer.zero_grad()
        F.cross_entropy(net(images[part]), labels[part]).backward()
        optimizer.step()
    return net.eval().requires_grad_(False)


@cache
def real_net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, CLASSES)
        )
        return fit(net, 60)


@cache
def binary_net(method: str = "bnn") -> nn.Module:
    """Three binary layers on a real first one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1), nn.BatchNorm2d(16)]
        for _ in range(3):
            layers += [BinaryConv2d(16, 16, 3, padding=1, method=method), nn.BatchNorm2d(16)]
        net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, CLASSES))
        return fit(net, 80)


class Linear(nn.Module):
    """Two classes, z = (0, w·x + b)."""

    def __init__(self, shape: tuple[int, int, int] = (3, 4, 4)) -> None:
        super().__init__()
        self.w = torch.randn(shape, generator=seeded(3), dtype=torch.float64).float()
        self.b = -float(self.w.sum()) / 2  # images around 1/2 lie near the border
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        margin = (images * self.w).flatten(1).sum(1) + self.b
        return torch.stack([torch.zeros_like(margin), margin], 1)


class Watched(ClassificationObjective):
    """Cross-entropy that never breaks, or breaks by a rule on the images, and keeps count of what it was asked for."""

    def __init__(
        self, model: Callable[[Tensor], Tensor], labels: Tensor, rule: Callable[[Tensor], Tensor], seen: list[Tensor]
    ) -> None:
        super().__init__(model, labels)
        self.rule, self.seen = rule, seen

    def arguments(self, index: Tensor) -> tuple[object, ...]:
        return self.labels[index], self.rule, self.seen

    def loss(self, logits: Tensor) -> Tensor:
        return F.cross_entropy(logits, self.labels, reduction="none")

    def judged(self, images: Tensor, progress: float = 0.0) -> tuple[Tensor, Tensor]:
        self.seen.append(images.detach().clone())
        return self(images), self.rule(images.detach())

    def broken(self, images: Tensor) -> Tensor:
        return self.rule(images)
