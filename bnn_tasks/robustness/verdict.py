"""Whether a measured robust accuracy can be believed, and why not."""

from dataclasses import dataclass

from bnn_tasks.robustness.facts import Facts
from bnn_tasks.robustness.verdict_rules import RULES

TRUSTWORTHY = "trustworthy"
UPPER_BOUND = (
    "Robust accuracy is an upper bound: it says what these attacks did not find, not that there is nothing to find."
)


@dataclass(frozen=True)
class Verdict:
    """What to think of the figures.

    Attributes:
        label: `TRUSTWORTHY`, "gradient masking suspected" or "attack too weak".
        reasons: of every rule that fired, the one behind the label first; empty where it is `TRUSTWORTHY`.
    """

    label: str
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        head = f"{self.label}: {'; '.join(self.reasons)}" if self.reasons else self.label
        return f"{head}. {UPPER_BOUND}"


def judge(facts: Facts) -> Verdict:
    """Go through `RULES`, in order; the first that fires gives the label, all that fire give reasons.

    Args:
        facts: what was measured.
    """
    fired = [(rule.label, reason) for rule in RULES if (reason := rule.check(facts, rule.threshold)) is not None]
    return Verdict(fired[0][0] if fired else TRUSTWORTHY, tuple(reason for _, reason in fired))
