"""A classifier on corrupted images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bnn_tasks.robustness.corruptions import (
    SEVERITIES,
    Corruption,
    CorruptionScores,
    chosen_corruptions,
    corruption_library,
)
from bnn_tasks.tasks.robustness.examinations.base import Examination
from bnn_tasks.tasks.robustness.findings import Examined
from bnn_tasks.tasks.robustness.subject import Subject
from bnn_tasks.tasks.robustness.victims import Victim


@dataclass(frozen=True)
class Corruptions(Examined):
    """Accuracy by corruption and severity.

    Attributes:
        scores: with the clean accuracy.
    """

    name = "corruptions"
    scores: CorruptionScores

    def to_json(self) -> dict[str, Any]:
        """All figures."""
        return self.scores.to_json()


class CorruptedImages(Examination):
    """The common corruptions (Hendrycks and Dietterich, 2019), at the net's input size, on the images of the study.

    `CorruptionTask` corrupts a whole split as it is read, before it is resized, and takes any task.

    Args:
        corruptions: of `CORRUPTIONS`; None is all.

    Raises:
        ImportError: the corruption library is not installed.
        ValueError: an unknown corruption, or none.
    """

    def __init__(self, corruptions: list[str] | None = None) -> None:
        self.corruptions = chosen_corruptions(corruptions)
        corruption_library()  # missing, it is better met now than after the attacks

    def check(self, subject: Subject) -> None:
        """Refuse images that are too small."""
        Corruption(self.corruptions[0], SEVERITIES[0], subject.seed)(subject.images[:1])

    def run(self, subject: Subject, others: Sequence[Victim]) -> Corruptions:
        """See `Examination`."""
        scores = {
            name: [
                subject.share_right(subject.victim, Corruption(name, severity, subject.seed)(subject.images))
                for severity in SEVERITIES
            ]
            for name in self.corruptions
        }
        return Corruptions(CorruptionScores(float(subject.right.float().mean()), scores))
