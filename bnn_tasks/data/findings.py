"""Where readers report what is wrong with a data set: training stops at the first error, check-data lists them all."""

from typing import NoReturn


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
