"""The real values under a window: mean magnitudes, and the signs of a patch's residuals."""

import numpy as np

from bnn_tasks.runtime.kinds import words
from bnn_tasks.runtime.layouts import pack_flags
from bnn_tasks.runtime.reference.windows import Windows, bands


def window_mean(x: np.ndarray, groups: int, windows: Windows, pad_value: int) -> np.ndarray:
    """Mean of abs(x) under every window: [OH, OW, G]; a tap outside the map counts abs(pad_value). Sums are in float64."""
    width, channels = x.shape[1], x.shape[2] // groups
    mean = np.empty((*windows.size, groups), np.float32)
    row = windows.stride[0] * width * (4 * x.shape[2] + 8 * groups) + 16 * windows.size[1] * groups
    for band in bands(windows.size[0], row):
        part, under = windows.of_rows(band)
        magnitude = np.abs(x[under])
        pixel = magnitude.reshape(len(magnitude), width, groups, channels).sum(axis=3, dtype=np.float64)
        total = np.zeros((*part.size, groups))
        outside = np.full((*part.size, 1), windows.taps, np.int64)
        for to, source in part.shifts(len(pixel), width):
            total[to] += pixel[source]
            outside[to] -= 1
        total += outside * (abs(pad_value) * channels)
        mean[band] = total / (channels * windows.taps)
    return mean


def residual_signs(
    x: np.ndarray, groups: int, windows: Windows, pad_value: int, index: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Signs of every patch's residual R_index, and its mean magnitude.

    R_0 = patch; R_{i+1} = R_i - mean(abs(R_i))·sign(R_i), where a zero-padded tap has no sign and stays 0. Taps run
    (channel, y, x), as in rows of weights. Means are summed in float64.

    Returns:
        Bits [OH, OW, (G + 1)·words], the signs of every group and then which taps are inside or padded with a sign;
        the means [OH, OW, G]; and how many residuals are NaN.
    """
    channels = x.shape[2] // groups
    count = channels * windows.taps
    bits = np.empty((windows.count, (groups + 1) * words(count)), np.uint64)
    beta = np.empty((windows.count, groups), np.float32)
    nans = 0
    pad = np.full(x.shape[2], pad_value, np.float32)
    for band, patches, inside in windows.patches(x, pad, 16 * groups * count):
        values = patches.reshape(len(patches), windows.taps, groups, channels).transpose(0, 2, 3, 1)
        residual = values.reshape(len(patches), groups, count)
        signed = np.tile(inside if pad_value == 0 else np.ones_like(inside), channels)[:, None]
        scale = _mean_magnitude(residual)
        for _ in range(index):
            step = np.where(residual >= 0, scale[..., None], -scale[..., None])
            residual = np.where(signed, residual - step, residual)
            scale = _mean_magnitude(residual)
        beta[band] = scale
        nans += int(np.count_nonzero(np.isnan(residual)))
        bits[band] = pack_flags(np.concatenate([signed & (residual >= 0), signed], axis=1))
    return bits.reshape(*windows.size, -1), beta.reshape(*windows.size, -1), nans


def _mean_magnitude(residual: np.ndarray) -> np.ndarray:
    return np.abs(residual).mean(axis=2, dtype=np.float64).astype(np.float32)
