"""Loops over packed signs: packing, XNOR and popcount.

The popcount below is the pattern that LLVM knows as one instruction. Packed weights are [G, kh, kw, words, O] (O: output
channels of one group).
"""

import numpy as np
from numba import prange

from bnn_tasks.runtime.jit import kernel

Pair = tuple[int, int]

_M1, _M2, _M4 = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333), np.uint64(0x0F0F0F0F0F0F0F0F)
_H1 = np.uint64(0x0101010101010101)
_S1, _S2, _S4, _S56 = np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(56)
_ZERO, _ONE, _ONES = np.uint64(0), np.uint64(1), np.uint64(0xFFFFFFFFFFFFFFFF)


@kernel()
def popcount(x: np.uint64) -> np.uint64:
    """Number of 1 bits (Warren, Hacker's Delight, 5-1)."""
    x = x - ((x >> _S1) & _M1)
    x = (x & _M2) + ((x >> _S2) & _M2)
    x = (x + (x >> _S4)) & _M4
    return (x * _H1) >> _S56


@kernel(parallel=True)
def pack(x: np.ndarray, threshold: np.ndarray, groups: int, out: np.ndarray) -> int:
    """Bits of x >= threshold: x [P, C], threshold [C], out [P, groups * words]. Returns how many x are NaN."""
    channels = x.shape[1] // groups
    words = out.shape[1] // groups
    nans = 0
    for p in prange(x.shape[0]):
        for g in range(groups):
            for k in range(words):
                first = g * channels + 64 * k
                word = _ZERO
                for c in range(min(64, channels - 64 * k)):
                    v = x[p, first + c]
                    word |= np.uint64(v >= threshold[first + c]) << np.uint64(c)
                    nans += v != v
                out[p, g * words + k] = word
    return nans


@kernel()
def tile_bits(packed: np.ndarray, inputs: int, out: np.ndarray) -> None:
    """Re-tile canonical weights, uint8 [G * O, bytes] of OIHW bits, to out [G, kh, kw, words, O], all zero."""
    groups, kh, kw, _, outputs = out.shape
    for o in range(groups * outputs):
        for i in range(inputs):
            for y in range(kh):
                for x in range(kw):
                    n = (i * kh + y) * kw + x
                    if (packed[o, n >> 3] >> (n & 7)) & 1:
                        out[o // outputs, y, x, i >> 6, o % outputs] |= _ONE << np.uint64(i & 63)


@kernel()
def _xnor_row(
    x: np.ndarray,
    w: np.ndarray,
    inputs: int,
    oy: int,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    pad_value: int,
    mismatches: np.ndarray,
    acc: np.ndarray,
) -> None:
    """Accumulators acc [OW, G * O] of output row `oy`: K - 2 popcount(x xor w), K over the taps that count."""
    groups, kh, kw, words, outputs = w.shape
    tail = _ONES >> np.uint64(words * 64 - inputs)
    for ox in range(acc.shape[0]):
        for g in range(groups):
            for o in range(outputs):
                mismatches[o] = _ZERO
            taps = 0
            for ky in range(kh):
                iy = oy * stride[0] - padding[0] + ky * dilation[0]
                for kx in range(kw):
                    ix = ox * stride[1] - padding[1] + kx * dilation[1]
                    inside = 0 <= iy < x.shape[0] and 0 <= ix < x.shape[1]
                    if not inside and pad_value == 0:
                        continue
                    taps += 1
                    for k in range(words):
                        if inside:
                            bits = x[iy, ix, g * words + k]
                        elif pad_value < 0:
                            bits = _ZERO
                        elif k == words - 1:
                            bits = tail
                        else:
                            bits = _ONES
                        for o in range(outputs):
                            mismatches[o] += popcount(bits ^ w[g, ky, kx, k, o])
            for o in range(outputs):
                acc[ox, g * outputs + o] = taps * inputs - 2 * np.int64(mismatches[o])


@kernel(parallel=True)
def xnor_accumulate(
    x: np.ndarray,
    w: np.ndarray,
    inputs: int,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    pad_value: int,
    out: np.ndarray,
) -> None:
    """Binary convolution, raw: out int32 [OH, OW, G * O]; inputs: true channels of one group."""
    for row in prange(out.shape[0]):
        oy = np.int64(row)
        mismatches = np.empty(w.shape[4], np.uint64)
        _xnor_row(x, w, inputs, oy, stride, padding, dilation, pad_value, mismatches, out[oy])


@kernel(parallel=True)
def xnor_float(
    x: np.ndarray,
    w: np.ndarray,
    inputs: int,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    pad_value: int,
    scale: np.ndarray,
    bias: np.ndarray,
    out: np.ndarray,
) -> None:
    """Binary convolution, added: out [OH, OW, G * O] += float32(acc) * scale, then + bias, rounded after each step."""
    for row in prange(out.shape[0]):
        oy = np.int64(row)
        mismatches = np.empty(w.shape[4], np.uint64)
        acc = np.empty((out.shape[1], out.shape[2]), np.int32)
        _xnor_row(x, w, inputs, oy, stride, padding, dilation, pad_value, mismatches, acc)
        for ox in range(out.shape[1]):
            for o in range(out.shape[2]):
                out[oy, ox, o] = out[oy, ox, o] + np.float32(acc[ox, o]) * scale[o] + bias[o]


@kernel(parallel=True)
def xnor_bits(
    x: np.ndarray,
    w: np.ndarray,
    inputs: int,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    pad_value: int,
    threshold: np.ndarray,
    flip: np.ndarray,
    out_groups: int,
    out: np.ndarray,
) -> None:
    """Binary convolution with the epilogue (acc >= threshold) ^ flip: out [OH, OW, out_groups * words], all zero."""
    channels = threshold.shape[0] // out_groups
    words = out.shape[2] // out_groups
    for row in prange(out.shape[0]):
        oy = np.int64(row)
        mismatches = np.empty(w.shape[4], np.uint64)
        acc = np.empty((out.shape[1], threshold.shape[0]), np.int32)
        _xnor_row(x, w, inputs, oy, stride, padding, dilation, pad_value, mismatches, acc)
        for ox in range(out.shape[1]):
            for o in range(threshold.shape[0]):
                if (acc[ox, o] >= threshold[o]) != (flip[o] != 0):
                    c = o % channels
                    out[oy, ox, o // channels * words + (c >> 6)] |= _ONE << np.uint64(c & 63)


@kernel(parallel=True)
def patch_accumulate(x: np.ndarray, w: np.ndarray, out: np.ndarray) -> None:
    """Products of packed patches: out int32 [OH, OW, G * O] = K - 2 popcount((x xor w) and inside), K taps inside.

    x [OH, OW, (G + 1) * words] holds the signs of every group and then, once, which taps are inside; w [G, 1, 1, words, O].
    """
    groups, _, _, words, outputs = w.shape
    for row in prange(out.shape[0]):
        oy = np.int64(row)
        mismatches = np.empty(outputs, np.uint64)
        for ox in range(out.shape[1]):
            taps = np.int64(0)
            for k in range(words):
                taps += np.int64(popcount(x[oy, ox, groups * words + k]))
            for g in range(groups):
                for o in range(outputs):
                    mismatches[o] = _ZERO
                for k in range(words):
                    bits, inside = x[oy, ox, g * words + k], x[oy, ox, groups * words + k]
                    for o in range(outputs):
                        mismatches[o] += popcount((bits ^ w[g, 0, 0, k, o]) & inside)
                for o in range(outputs):
                    out[oy, ox, g * outputs + o] = taps - 2 * np.int64(mismatches[o])
