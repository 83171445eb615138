"""The softmax of a map's channels, added to a larger map."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba.extending import overload

from bnn_tasks.runtime.jit import kernel

# exp as Cephes has it (Moshier, expf.c): e^x = 2ⁿ·e^r with n = round(x / ln 2) and r = x - n·ln 2, ln 2 in two parts, and
# e^r = 1 + r + r²·(C₀·r⁵ + … + C₅).
LOG2_E, LN2_HIGH, LN2_LOW = np.float32(1.44269504088896341), np.float32(0.693359375), np.float32(-2.12194440e-4)
C0, C1, C2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
C3, C4, C5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
LOWEST = np.float32(-87)  # e^x is a normal number from here on; what is less counts as this, 1.6e-38
ROUND = np.float32(3 << 22)  # 1.5·2²³: float32 sums with it have no digits behind the point
BIAS, MANTISSA = np.int32(127), np.int32(23)  # of float32: the exponent's offset, the bits below it
ONE = np.float32(1)


def add_row(to: np.ndarray, scores: np.ndarray, powers: np.ndarray, scales: np.ndarray) -> None:
    """to += exp(s - max s) / Σ exp(s - max s) over the last axis of (w, K) float32, as numpy is quick at it."""
    own = np.exp(scores - scores.max(axis=1, keepdims=True))
    to += own / own.sum(axis=1, keepdims=True)


@overload(add_row)
def _compiled(to: Any, scores: Any, powers: Any, scales: Any) -> Callable[..., None]:
    """The same as numba is quick at it; the loop over pixels and classes alike is one of vector instructions."""

    def loop(to: Any, scores: Any, powers: Any, scales: Any) -> None:
        width, classes = scores.shape
        for x in range(width):
            highest = scores[x, 0]
            for k in range(1, classes):
                highest = max(highest, scores[x, k])
            for k in range(classes):
                powers[x * classes + k] = scores[x, k] - highest
        for i in range(width * classes):
            s = max(powers[i], LOWEST)
            n = (s * LOG2_E + ROUND) - ROUND
            scales[i] = (np.int32(n) + BIAS) << MANTISSA
            r = (s - n * LN2_HIGH) - n * LN2_LOW
            powers[i] = (((((C0 * r + C1) * r + C2) * r + C3) * r + C4) * r + C5) * r * r + r + ONE
        two_n = scales.view(np.float32)
        for i in range(width * classes):
            powers[i] *= two_n[i]
        for x in range(width):
            total = np.float32(0)
            for k in range(classes):
                total += powers[x * classes + k]
            share = ONE / total
            for k in range(classes):
                to[x, k] += powers[x * classes + k] * share

    return loop


@kernel(nogil=True)
def add_softmax(scores: np.ndarray, total: np.ndarray, top: int, left: int) -> None:
    """total[top + y, left + x] += exp(s - max s) / Σ exp(s - max s), s = scores[y, x], where that lies in `total`.

    Args:
        scores: float32 (h, w, K).
        total: float32 (H, W, K).
        top: row of `total` on which the first row of `scores` lies; may be negative.
        left: column, likewise.
    """
    width, classes = scores.shape[1], scores.shape[2]
    first, last = max(0, -left), min(width, total.shape[1] - left)
    powers, scales = np.empty(width * classes, np.float32), np.empty(width * classes, np.int32)
    for y in range(max(0, -top), min(scores.shape[0], total.shape[0] - top)):
        add_row(total[top + y, left + first : left + last], scores[y, first:last], powers, scales)
