"""Bilinear samples of a map, all channels at once."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba.extending import overload

from bnn_tasks.runtime.jit import kernel


def add_corners(
    to: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    d: np.ndarray,
    wa: np.float32,
    wb: np.float32,
    wc: np.float32,
    wd: np.float32,
) -> None:
    """to += wa·a + wb·b + wc·c + wd·d, all float32 (C): as numpy is quick at it."""
    to += wa * a + wb * b + wc * c + wd * d


@overload(add_corners)
def _compiled(to: Any, a: Any, b: Any, c: Any, d: Any, wa: Any, wb: Any, wc: Any, wd: Any) -> Callable[..., None]:
    """The same as numba is quick at it: an array of its own for the sum would take longer than the sum."""

    def loop(to: Any, a: Any, b: Any, c: Any, d: Any, wa: Any, wb: Any, wc: Any, wd: Any) -> None:
        for k in range(len(to)):
            to[k] += wa * a[k] + wb * b[k] + wc * c[k] + wd * d[k]

    return loop


@kernel()
def add_samples(
    feature: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
    wy: np.ndarray,
    wx: np.ndarray,
    per_bin: int,
    rows: np.ndarray,
    out: np.ndarray,
) -> None:
    """out[rows[n], i, j] += Σ over the samples p, q of bin i, j and their corners a, b of wy·wx · feature[y, x].

    Args:
        feature: (H, W, C) float32.
        y: int64 (N, bins · per_bin, 2), rows of the map around each sample.
        x: int64 (N, bins · per_bin, 2), columns.
        wy: float32, weights of `y`.
        wx: float32, weights of `x`.
        per_bin: samples a side of a bin.
        rows: int64 (N).
        out: float32 (R, bins, bins, C).
    """
    bins = out.shape[1]
    for n in range(len(rows)):
        for i in range(bins):
            for j in range(bins):
                to = out[rows[n], i, j]
                for p in range(i * per_bin, (i + 1) * per_bin):
                    above, below = feature[y[n, p, 0]], feature[y[n, p, 1]]
                    for q in range(j * per_bin, (j + 1) * per_bin):
                        left, right = x[n, q, 0], x[n, q, 1]
                        add_corners(
                            to,
                            above[left],
                            above[right],
                            below[left],
                            below[right],
                            wy[n, p, 0] * wx[n, q, 0],
                            wy[n, p, 0] * wx[n, q, 1],
                            wy[n, p, 1] * wx[n, q, 0],
                            wy[n, p, 1] * wx[n, q, 1],
                        )
