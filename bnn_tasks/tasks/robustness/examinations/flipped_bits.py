"""A classifier whose stored weights lose bits."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from bnn_tasks.robustness.objective import CrossEntropyObjective
from bnn_tasks.tasks.robustness.artifact import ArtifactModel
from bnn_tasks.tasks.robustness.bit_flips import FlipPoint, PackedBits, flip_curve
from bnn_tasks.tasks.robustness.bit_search import ProgressiveBitSearch, check_exported
from bnn_tasks.tasks.robustness.examinations.base import Examination
from bnn_tasks.tasks.robustness.findings import Examined
from bnn_tasks.tasks.robustness.rising import rising
from bnn_tasks.tasks.robustness.subject import Subject
from bnn_tasks.tasks.robustness.victims import Victim


@dataclass(frozen=True)
class FlipCurves(Examined):
    """Accuracy, on the runtime, against flipped bits.

    Attributes:
        artifact: the file.
        random: any bits.
        searched: those that a search through the net's gradients found; empty for a victim without gradients.
    """

    name = "bit_flips"
    artifact: str
    random: list[FlipPoint]
    searched: list[FlipPoint]

    def to_json(self) -> dict[str, Any]:
        """All figures."""
        return asdict(self)


class FlippedBits(Examination):
    """Flip 1-bit weights of the exported file, at random and by `ProgressiveBitSearch`, and run what is left.

    Args:
        artifact: the victim's exported file.
        random: how many random bits, rising, each up to the file's.
        searched: how many searched bits, rising; a search takes about ten forward passes a bit.
        sample: images that the search may look at, >= 1; the accuracies are over all images.

    Raises:
        ArtifactError: the file is damaged, of another kind or version, or has no 1-bit weights.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        artifact: str | os.PathLike[str],
        random: Sequence[int] = (0, 10, 100, 1000, 10000),
        searched: Sequence[int] = (0, 1, 2, 5, 10, 20),
        sample: int = 64,
    ) -> None:
        self.random, self.searched = list(rising("random", random)), list(rising("searched", searched))
        if sample < 1:
            raise ValueError(f"Expected `sample` to be >= 1, but got {sample}.")
        self.packed = PackedBits(artifact)
        if max(random[-1], searched[-1]) > self.packed.total:
            raise ValueError(
                f"{self.packed.path}: Expected at most its {self.packed.total} 1-bit weights, but got {list(random)} and "
                f"{list(searched)}."
            )
        self.sample = sample

    def check(self, subject: Subject) -> None:
        """Refuse an artifact that is not the victim's."""
        classes = list(ArtifactModel(self.packed.path).classes)
        if classes and classes != subject.victim.classes:
            raise ValueError(
                f"{self.packed.path}: Expected the artifact of {subject.victim.path!r}, of classes {subject.victim.classes}, "
                f"but it has {classes}. Cure: export that net."
            )
        if subject.victim.module is not None:
            check_exported(subject.victim.module, self.packed)

    def run(self, subject: Subject, others: Sequence[Victim]) -> FlipCurves:
        """See `Examination`."""

        def score(model: ArtifactModel) -> float:
            return subject.share_right(model, subject.images)

        packed, generator = self.packed, torch.Generator().manual_seed(subject.seed)
        drawn = packed.random(self.random[-1], generator)
        curves = FlipCurves(packed.path, flip_curve(packed, drawn, self.random, score), [])
        net = subject.victim.module
        if net is not None:
            seen = torch.arange(min(self.sample, len(subject.images)))
            objective = CrossEntropyObjective(subject.victim, subject.labels[seen])
            found = ProgressiveBitSearch()(net, packed, objective, subject.images[seen], self.searched[-1])
            curves.searched.extend(flip_curve(packed, found.bits, self.searched, score))
        return curves
