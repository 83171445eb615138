"""Where the values of a program lie: one arena, each value's bytes given to others after its last reader."""

from collections.abc import Mapping

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
    order = sorted(sizes, key=lambda v: (-sizes[v], births[v], v))
    birth, death = (np.array([times[v] for v in order], np.int64) for times in (births, deaths))
    places = np.zeros((len(order), 2), np.int64)  # first byte, and the one behind the last
    for index, value in enumerate(order):
        size = round_up(sizes[value])
        rivals = places[:index][(birth[:index] <= death[index]) & (birth[index] <= death[:index])]
        rivals = rivals[rivals[:, 0].argsort()]
        behind = np.maximum.accumulate(np.append(0, rivals[:, 1]))  # of the first 0, 1, 2 … rivals
        fits = np.append(rivals[:, 0] - behind[:-1] >= size, True)
        at = behind[fits.argmax()]
        places[index] = at, at + size
    return dict(zip(order, places[:, 0].tolist(), strict=True)), int(places.max(initial=0))
