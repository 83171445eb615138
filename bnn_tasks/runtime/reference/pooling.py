"""Pooling, one tap of all windows after the other. Maps where no tap is inside are possible in ceil mode."""

import numpy as np

from bnn_tasks.runtime.reference.windows import Windows


def max_pool2d(x: np.ndarray, windows: Windows) -> np.ndarray:
    """Largest tap inside the map, NaN where one is; -inf where no tap is inside: [OH, OW, C]."""
    out = np.full((*windows.size, x.shape[2]), -np.inf, np.float32)
    for to, source in windows.shifts(*x.shape[:2]):
        np.maximum(out[to], x[source], out=out[to])
    return out


def avg_pool2d(x: np.ndarray, windows: Windows, count_include_pad: bool) -> np.ndarray:
    """Mean over a window as torch divides it, by the taps inside the map, or inside map and padding: [OH, OW, C].

    Sums run over the rows of a window in float32, as torch's do.
    """
    out = np.zeros((*windows.size, x.shape[2]), np.float32)
    for to, source in windows.shifts(*x.shape[:2]):
        out[to] += x[source]
    rows, columns = (_divisor(x.shape[axis], windows, axis, count_include_pad) for axis in (0, 1))
    out /= (rows[:, None] * columns).astype(np.float32)[..., None]
    return out


def _divisor(side: int, windows: Windows, axis: int, count_include_pad: bool) -> np.ndarray:
    """How many taps of each window count along an axis."""
    places = windows.places(axis)
    low, high = (-windows.padding[axis], side + windows.padding[axis]) if count_include_pad else (0, side)
    return ((places >= low) & (places < high)).sum(axis=1)
