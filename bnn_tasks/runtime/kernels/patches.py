"""Loops over the real values under a window: mean magnitudes, and the signs of a patch's residuals."""

import numpy as np
from numba import prange

from bnn_tasks.runtime.jit import kernel

Pair = tuple[int, int]


@kernel(parallel=True)
def window_mean(
    x: np.ndarray,
    groups: int,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    pad_value: int,
    out: np.ndarray,
) -> None:
    """Mean of abs(x) under every window: out [OH, OW, groups]; a tap outside the map counts abs(pad_value).

    Sums are taken in float64.
    """
    channels = x.shape[2] // groups
    for row in prange(out.shape[0]):
        oy = np.int64(row)
        for ox in range(out.shape[1]):
            for g in range(groups):
                total = 0.0
                for ky in range(kernel_size[0]):
                    iy = oy * stride[0] - padding[0] + ky * dilation[0]
                    for kx in range(kernel_size[1]):
                        ix = ox * stride[1] - padding[1] + kx * dilation[1]
                        if 0 <= iy < x.shape[0] and 0 <= ix < x.shape[1]:
                            for c in range(channels):
                                total += abs(np.float64(x[iy, ix, g * channels + c]))
                        else:
                            total += np.float64(abs(pad_value)) * channels
                out[oy, ox, g] = np.float32(total / (channels * kernel_size[0] * kernel_size[1]))


@kernel(parallel=True)
def residual_signs(
    x: np.ndarray,
    groups: int,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    pad_value: int,
    index: int,
    bits: np.ndarray,
    beta: np.ndarray,
) -> int:
    """Signs of every patch's residual R_index, and its mean magnitude: bits [OH, OW, (G + 1) * words], beta [OH, OW, G].

    R_0 = patch; R_{i+1} = R_i - mean(abs(R_i))·sign(R_i), where a zero-padded tap has no sign and stays 0. Taps run
    (channel, y, x), as in rows of weights. `bits`, all zero, gets the signs of every group and then which taps are inside.
    Returns how many residuals are NaN.
    """
    channels = x.shape[2] // groups
    count = channels * kernel_size[0] * kernel_size[1]
    words = bits.shape[2] // (groups + 1)
    nans = 0
    for row in prange(bits.shape[0]):
        oy = np.int64(row)
        residual = np.empty(count, np.float32)
        inside = np.empty(count, np.bool_)
        for ox in range(bits.shape[1]):
            for g in range(groups):
                n = 0
                for c in range(channels):
                    for ky in range(kernel_size[0]):
                        iy = oy * stride[0] - padding[0] + ky * dilation[0]
                        for kx in range(kernel_size[1]):
                            ix = ox * stride[1] - padding[1] + kx * dilation[1]
                            found = 0 <= iy < x.shape[0] and 0 <= ix < x.shape[1]
                            residual[n] = x[iy, ix, g * channels + c] if found else np.float32(pad_value)
                            inside[n] = found or pad_value != 0
                            n += 1
                scale = np.float32(0)
                for step in range(index + 1):
                    if step > 0:
                        for t in range(count):
                            if inside[t]:
                                residual[t] -= scale if residual[t] >= 0 else -scale
                    total = 0.0
                    for t in range(count):
                        total += abs(np.float64(residual[t]))
                    scale = np.float32(total / count)
                beta[oy, ox, g] = scale
                for t in range(count):
                    nans += residual[t] != residual[t]
                    shift = np.uint64(t & 63)
                    bits[oy, ox, g * words + (t >> 6)] |= np.uint64(inside[t] and residual[t] >= 0) << shift
                    if g == 0:
                        bits[oy, ox, groups * words + (t >> 6)] |= np.uint64(inside[t]) << shift
    return nans
