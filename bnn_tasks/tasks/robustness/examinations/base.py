"""One question about a victim beyond the attacks of a study."""

from collections.abc import Sequence

from bnn_tasks.tasks.robustness.findings import Examined
from bnn_tasks.tasks.robustness.subject import Subject
from bnn_tasks.tasks.robustness.victims import Victim


class Examination:
    """Base class: a question, with its settings."""

    def check(self, subject: Subject) -> None:
        """Raise ValueError where the question cannot be asked of a victim: before the attacks, which take their time.

        Args:
            subject: the victim, with the images of the study.
        """

    def run(self, subject: Subject, others: Sequence[Victim]) -> Examined | None:
        """Answer it.

        Args:
            subject: the victim, with the images of the study.
            others: nets beside it, its real twin first.

        Returns:
            The answer; None where the victim has none, an artifact no gradient for instance.
        """
        raise NotImplementedError
