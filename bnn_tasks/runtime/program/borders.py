"""Accumulators of binary layers under zero padding: K - 2·mismatches, K depending on which taps lie inside."""

from dataclasses import dataclass

import numpy as np

from bnn_tasks.runtime.program.layers import InputWindows
from bnn_tasks.runtime.reference import Windows


@dataclass(frozen=True)
class Borders:
    """What an accumulator starts from, by class of position.

    Attributes:
        bases: int32 (classes, O).
        classes: int64 (positions), index of each position's row.
    """

    bases: np.ndarray
    classes: np.ndarray


def _axis(at: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Which taps lie inside, bool (classes, kernel), and the class of every output row or column.

    Args:
        at: (outputs, kernel), where the taps are.
        size: of the input.
    """
    inside, classes = np.unique((at >= 0) & (at < size), axis=0, return_inverse=True)
    return inside, classes.reshape(-1)


def zero_padded(bits: np.ndarray, windows: InputWindows, out: tuple[int, int]) -> Borders:
    """Bases where a tap outside counts 0 but was counted as bits 0: that made popcount(w) mismatches of it.

    accumulator = I·inside - 2·(mismatches - Σ over taps outside of popcount(w)).

    Args:
        bits: weights as 0 and 1, (O, I, kh, kw).
        windows: of the layer.
        out: height and width of the output.
    """
    taps = Windows(out, windows.kernel, windows.stride, windows.padding, windows.dilation)
    (rows, row_of), (columns, column_of) = (_axis(taps.places(i), windows.size[i]) for i in (0, 1))
    ones = bits.sum(axis=1, dtype=np.int64)  # (O, kh, kw)
    inside = (rows[:, None, :, None] & columns[None, :, None, :]).reshape(-1, *windows.kernel)
    outside_ones = np.einsum("chw,ohw->co", ~inside, ones, dtype=np.int64)
    bases = bits.shape[1] * inside.sum(axis=(1, 2))[:, None] + 2 * outside_ones
    classes = row_of[:, None] * len(columns) + column_of[None, :]
    return Borders(bases.astype(np.int32), classes.reshape(-1))


def padded_with_signs(bits: np.ndarray, positions: int) -> Borders:
    """Bases where every tap is a sign."""
    bases = np.full((1, len(bits)), bits[0].size, np.int32)
    return Borders(bases, np.zeros(positions, np.int64))
