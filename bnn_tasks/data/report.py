"""What ``check-data`` prints: a table of counts, and everything that is wrong with a set."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from bnn_tasks.data.findings import Findings
from bnn_tasks.runtime.images import Size

SIZES_SHOWN = 5


@dataclass
class DataReport(ABC):
    """What a set contains, and what is wrong with it.

    Attributes:
        class_names: in label order.
        image_sizes: how many images have each (height, width).
        errors: what must be put right before training.
        warnings: what was dealt with, but may not be meant.
        suggestions: what may make training better.
    """

    class_names: list[str] = field(default_factory=list)
    image_sizes: Counter[Size] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    suggestions: list[str] = field(default_factory=list)

    def take(self, findings: Findings) -> None:
        """Add what reading a split has found, but for what was found in another split of the same files.

        Args:
            findings: of one split.
        """
        for own, found in ((self.errors, findings.errors), (self.warnings, findings.warnings)):
            known = set(own)
            own += [message for message in found if message not in known]

    @abstractmethod
    def table(self) -> list[str]:
        """Return the counts, a line a row; see ``format_counts``."""

    def __str__(self) -> str:
        lines = self.table()
        if self.image_sizes:
            common = self.image_sizes.most_common(SIZES_SHOWN)
            shown = ", ".join(f"{height}x{width}: {count}" for (height, width), count in common)
            rest = len(self.image_sizes) - len(common)
            lines.append(f"image sizes (height x width): {shown}" + (f", and {rest} more" if rest else ""))
        for title, messages in (("error", self.errors), ("warning", self.warnings), ("suggestion", self.suggestions)):
            lines.append(f"{len(messages)} {title}{'' if len(messages) == 1 else 's'}")
            lines.extend(f"  {message}" for message in messages)
        return "\n".join(lines)


def format_counts(splits: Sequence[str], rows: Sequence[tuple[str, Sequence[int]]]) -> list[str]:
    """Lay out counts, a column a split.

    Args:
        splits: names of the columns; there may be none.
        rows: name, and a count a split.
    """
    width = max([len(name) for name, _ in rows] + [10])
    lines = [" ".join([" " * width, *(f"{split:>8}" for split in splits)])] if splits else []
    return lines + [" ".join([f"{name:<{width}}", *(f"{count:>8}" for count in counts)]) for name, counts in rows]
