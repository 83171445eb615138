"""Checkers of node attributes: each says what it takes and refuses the rest."""

import math
import reprlib
from dataclasses import dataclass
from typing import Any, Protocol

from bnn_tasks.runtime.errors import GraphError

MAX_WINDOW = 1024  # kernel, stride, dilation, padding: pixels
MAX_CHANNELS = 1 << 20


class Attr(Protocol):
    """Checks one attribute as read from JSON."""

    def check(self, name: str, value: Any) -> None:
        """Raise GraphError unless `value` is legal for the attribute `name`."""


def refuse(name: str, expected: str, value: Any) -> GraphError:
    """The error of a bad attribute."""
    return GraphError(f"Expected attribute `{name}` to be {expected}, but got {reprlib.repr(value)}.")


@dataclass(frozen=True)
class Integer:
    """A whole number in [low, high]; True and 1.0 are not whole numbers."""

    low: int
    high: int

    def check(self, name: str, value: Any) -> None:
        """Raise GraphError unless `value` is in range."""
        if type(value) is not int or not self.low <= value <= self.high:
            raise refuse(name, f"an integer in [{self.low}, {self.high}]", value)


@dataclass(frozen=True)
class Real:
    """A finite number in [low, high]."""

    low: float
    high: float

    def check(self, name: str, value: Any) -> None:
        """Raise GraphError unless `value` is in range."""
        if type(value) not in (int, float) or not self.low <= value <= self.high or math.isinf(value):
            raise refuse(name, f"a finite number in [{self.low}, {self.high}]", value)


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def check(self, name: str, value: Any) -> None:
        """Raise GraphError unless `value` is a bool."""
        if type(value) is not bool:
            raise refuse(name, "true or false", value)


@dataclass(frozen=True)
class Choice:
    """One of a few integers."""

    options: tuple[int, ...]

    def check(self, name: str, value: Any) -> None:
        """Raise GraphError unless `value` is an option."""
        if type(value) is not int or value not in self.options:
            raise refuse(name, f"one of {list(self.options)}", value)


@dataclass(frozen=True)
class Many:
    """A list of `low` to `high` items."""

    item: Attr
    low: int
    high: int

    def check(self, name: str, value: Any) -> None:
        """Raise GraphError unless `value` is such a list."""
        if type(value) is not list or not self.low <= len(value) <= self.high:
            raise refuse(name, f"a list of {self.low} to {self.high} items", value)
        for item in value:
            self.item.check(name, item)


def pair(low: int) -> Many:
    """[h, w], each an integer in [low, MAX_WINDOW]."""
    return Many(Integer(low, MAX_WINDOW), 2, 2)


STRIDE = KERNEL = DILATION = pair(1)
PADDING = pair(0)
COUNT = Integer(1, MAX_CHANNELS)
