"""What takes the place of a picture that cannot be read."""

import logging
from collections.abc import Callable
from typing import TypeVar

from bnn_tasks.runtime.images import ImageError

log = logging.getLogger(__name__)

T = TypeVar("T")


class FirstReadable:
    """Reads a picture of a split; where it cannot be read and may be replaced, the next readable one takes its place.

    Args:
        count: of the pictures, at least 1.
        name: of the picture at a place, for the log and for what is reported as damaged.
        replace_damaged: False makes an unreadable picture an error: a score must be over all pictures.
    """

    def __init__(self, count: int, name: Callable[[int], str], replace_damaged: bool) -> None:
        self.count, self.name, self.replace_damaged = count, name, replace_damaged
        self._warned: set[str] = set()

    def __call__(self, index: int, read: Callable[[int], T], damaged: list[str]) -> tuple[int, T]:
        """Read the first that can be read, from a place on, round the end.

        Args:
            index: 0..count-1.
            read: what is read at a place; ``ImageError`` where it cannot be read.
            damaged: takes the names of those that could not be read.

        Returns:
            The place of the one that was read, and what was read.

        Raises:
            ImageError: the picture cannot be read and may not be replaced, or none can be read.
        """
        for step in range(self.count):
            place = (index + step) % self.count
            try:
                return place, read(place)
            except ImageError as error:
                if not self.replace_damaged:
                    raise
                self._report(self.name(place), error, damaged)
        raise ImageError(f"{self.name(index)}: none of the {self.count} pictures of its split can be read")

    def _report(self, name: str, error: ImageError, damaged: list[str]) -> None:
        damaged.append(name)
        if name not in self._warned:
            self._warned.add(name)
            log.warning("%s; the next readable picture takes its place", error)
