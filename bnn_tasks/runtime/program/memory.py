"""Where the values of a program lie: one arena, each value's bytes given to others after its last reader."""

from collections.abc import Mapping, Sequence

import numpy as np

ALIGNMENT = 64
SLACK = 512  # bytes behind the last value, which vectors may read


def round_up(size: int, unit: int = ALIGNMENT) -> int:
    """Smallest multiple of `unit` that is at least `size`."""
    return -(-size // unit) * unit


def aligned(size: int) -> np.ndarray:
    """`size` zero bytes that start at a multiple of 64, with slack behind them."""
    raw = np.zeros(size + ALIGNMENT + SLACK, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]


def place_values(
    sizes: Mapping[str, int], births: Mapping[str, int], deaths: Mapping[str, int]
) -> tuple[dict[str, int], int]:
    """Offsets of values in an arena; the largest first, each at the lowest place that is free all its life.

    Args:
        sizes: bytes by value.
        births: step that makes it.
        deaths: last step that reads it.

    Returns:
        Offsets, multiples of 64, and the arena's bytes.
    """
    placed: list[str] = []
    offsets: dict[str, int] = {}
    total = 0
    for value in sorted(sizes, key=lambda v: (-sizes[v], births[v], v)):
        taken: Sequence[tuple[int, int]] = sorted(
            (offsets[o], offsets[o] + round_up(sizes[o]))
            for o in placed
            if births[o] <= deaths[value] and births[value] <= deaths[o]
        )
        at = 0
        for start, stop in taken:
            if at + round_up(sizes[value]) <= start:
                break
            at = max(at, stop)
        offsets[value] = at
        placed.append(value)
        total = max(total, at + round_up(sizes[value]))
    return offsets, total
