"""What ε, numbers of steps and numbers of bits are: rising numbers."""

from collections.abc import Sequence
from typing import TypeVar

Number = TypeVar("Number", int, float)


def rising(name: str, values: Sequence[Number], least: float = 0, unit: str = "") -> tuple[Number, ...]:
    """`values`, if there are some and they rise from `least` on.

    Args:
        name: of the argument.
        values: numbers.
        least: the smallest that is allowed.
        unit: of the numbers, for the message.

    Raises:
        ValueError: they do not.
    """
    if not values or list(values) != sorted(set(values)) or not values[0] >= least:
        raise ValueError(f"Expected `{name}` to be rising numbers >= {least:g}{unit}, but got {list(values)}.")
    return tuple(values)
