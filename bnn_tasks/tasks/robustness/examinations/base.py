"""One question about a victim beyond the attacks of a study."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from bnn_tasks.tasks.robustness.findings import Examined
from bnn_tasks.tasks.robustness.subject import Subject
from bnn_tasks.tasks.robustness.victims import Victim


class Examination(ABC):
    """A question, with its settings."""

    @abstractmethod
    def run(self, subject: Subject, others: Sequence[Victim]) -> Examined | None:
        """Answer it.

        Args:
            subject: the victim, with the images of the study.
            others: nets beside it, its real twin first.

        Returns:
            The answer; None where the victim has none, an artifact no gradient for instance.
        """
