"""Where readers report what is wrong with a data set: training stops at the first error, check-data lists them all."""

import logging
from pathlib import Path
from typing import NoReturn

log = logging.getLogger(__name__)


class DataError(ValueError):
    """A data set that cannot be used as it is; the message names the file and the cure."""


class Findings:
    """Collects errors and warnings; a reader goes on after an error, without the thing at fault.

    Attributes:
        errors: messages, in the order of reading.
        warnings: messages, in the order of reading.
    """

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []

    def error(self, message: str) -> None:
        """Report something that must be put right.

        Args:
            message: names the file and the cure.
        """
        self.errors.append(message)

    def warning(self, message: str) -> None:
        """Report something that the reader has dealt with.

        Args:
            message: names the file and what was done.
        """
        self.warnings.append(message)


class StrictFindings(Findings):
    """Collects warnings and raises the first error."""

    def error(self, message: str) -> NoReturn:
        """Raise the message.

        Args:
            message: names the file and the cure.

        Raises:
            DataError: always.
        """
        raise DataError(message)

    def log_warnings(self, split: str) -> None:
        """Log how many warnings there are, and the first.

        Args:
            split: that was read.
        """
        if self.warnings:
            log.warning(
                "%d warnings in the %s split, the first: %s. `bnn-tasks check-data` lists all of them",
                *(len(self.warnings), split, self.warnings[0]),
            )


def empty_fault(root: Path, split: str) -> str:
    """Say that a split is empty.

    Args:
        root: of the set.
        split: its name.
    """
    return f"{root}: the {split} split has no pictures; add some"
