"""What a study of one classifier found, and how it is written down."""

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from bnn_tasks.metrics.wilson import wilson_interval
from bnn_tasks.robustness.diagnostics import Sensitivity
from bnn_tasks.robustness.facts import Facts
from bnn_tasks.robustness.verdict import UPPER_BOUND, Verdict


@dataclass(frozen=True)
class Accuracy:
    """A share of the images with its 95 % interval (Wilson, 1927).

    Attributes:
        value: in [0, 1].
        low: of the interval.
        high: of the interval.
    """

    value: float
    low: float
    high: float


def accuracy(right: Tensor) -> Accuracy:
    """Of `right`, (n,) bool, n >= 1."""
    hits, count = int(right.sum()), len(right)
    return Accuracy(hits / count, *wilson_interval(hits, count))


@dataclass(frozen=True)
class Row:
    """One attack at the study's ε, on every image that is right without an attack.

    Attributes:
        attack: its name.
        accuracy: left.
        queries: mean forward passes an attacked image.
        alone: share of all images that this attack loses and no other in the table.
    """

    attack: str
    accuracy: Accuracy
    queries: float
    alone: float


@dataclass(frozen=True)
class Example:
    """One lost image.

    Attributes:
        image: (C, H, W) in [0, 1], before.
        attacked: (C, H, W), after.
        label: true class, and the victim's before.
        found: the victim's class after.
    """

    image: Tensor
    attacked: Tensor
    label: int
    found: int


class Examined(ABC):
    """The answer of an examination, which the report writes and draws.

    Attributes:
        name: its key in ``results.json``, and the stem of its picture.
    """

    name: str

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """All figures."""


@dataclass
class Findings:
    """Of one victim.

    Attributes:
        victim: path of its file.
        threat: norm, ε, images, seed and what the attacks were given, for whoever wants to run it again.
        clean: accuracy without an attack.
        rows: attacks at ε, weakest first.
        worst: image by image over all rows, all of the convergence curve, and what the ladder lost at smaller ε.
        ladder: (ε, worst case) for rising ε; images lost at one ε are lost at every larger one.
        surrogates: ε -> surrogate -> accuracy, and "all", the worst case image by image; empty for a net without binary
            activations or gradients.
        convergence: (steps, accuracy) of PGD at ε.
        sensitivity: amplification of the noise and changed signs by depth; None for an artifact.
        twin_sensitivity: of the first other victim.
        facts: what the verdict rests on.
        verdict: what to think of it.
        examples: some lost images.
        examined: the answers of the study's examinations.
    """

    victim: str
    threat: dict[str, Any]
    clean: Accuracy
    rows: list[Row]
    worst: Accuracy
    ladder: list[tuple[float, Accuracy]]
    surrogates: dict[float, dict[str, float]]
    convergence: list[tuple[int, float]]
    sensitivity: Sensitivity | None
    twin_sensitivity: Sensitivity | None
    facts: Facts
    verdict: Verdict
    examples: list[Example] = field(default_factory=list)
    examined: list[Examined] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Everything but the pictures; ε in units of 1/255."""
        return {
            "victim": self.victim,
            "threat": self.threat,
            "clean": asdict(self.clean),
            "attacks": [asdict(row) for row in self.rows],
            "worst": asdict(self.worst),
            "ladder": [{"eps_255": 255 * eps, **asdict(found)} for eps, found in self.ladder],
            "surrogates": [{"eps_255": 255 * eps, **found} for eps, found in self.surrogates.items()],
            "convergence": [{"steps": steps, "accuracy": found} for steps, found in self.convergence],
            "sensitivity": None if self.sensitivity is None else asdict(self.sensitivity),
            "twin_sensitivity": None if self.twin_sensitivity is None else asdict(self.twin_sensitivity),
            "facts": asdict(self.facts),
            "verdict": {**asdict(self.verdict), "note": UPPER_BOUND},
            **{found.name: found.to_json() for found in self.examined},
        }

    def __str__(self) -> str:
        eps = 255 * self.threat["eps"]
        lines = [f"{self.victim}: {self.facts.images} images, {self.threat['norm']} ε = {eps:g}/255", ""]
        lines.append(f"{'':<34}{'accuracy':>9}   95 % interval   lost to it alone")
        shown = [("clean", self.clean, math.nan), *((row.attack, row.accuracy, row.alone) for row in self.rows)]
        for name, found, alone in [*shown, ("worst case", self.worst, math.nan)]:
            share = "" if math.isnan(alone) else f"{alone:>14.1%}"
            lines.append(f"{name:<34}{found.value:>9.1%}   {found.low:.1%} … {found.high:.1%}{share}")
        lines += ["", "ε·255      " + "".join(f"{255 * e:>8g}" for e, _ in self.ladder)]
        lines.append("worst case " + "".join(f"{found.value:>8.1%}" for _, found in self.ladder))
        return "\n".join([*lines, "", f"verdict: {self.verdict}"])


def late_gain(trace: list[float]) -> float | None:
    """Share of the mean loss's rise that fell to the last tenth of the steps; None where it did not rise.

    Args:
        trace: loss by step, one at least.
    """
    if len(trace) < 10:
        return None
    total = trace[-1] - trace[0]
    return None if total <= 0 else (trace[-1] - trace[-1 - max(1, len(trace) // 10)]) / total
