"""Every compiled loop of the runtime, in one module: numba's disk cache sees edits of a kernel's own file only.

Maps are [H, W, C]. Geometry arguments are (y, x) pairs. Float weights are [G, kh, kw, I, O] and packed ones
[G, kh, kw, words, O] (I, O: channels of one group), so that inner loops run over contiguous output channels, which
LLVM turns into vector code; the popcount below is the pattern LLVM knows as one instruction. A prange index is
unsigned, and unsigned with signed is float in numba: hence `oy = np.int64(row)`.
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
    """Binary convolution with the epilogue float32(acc) * scale + bias, rounded after each step: out [OH, OW, G * O]."""
    for row in prange(out.shape[0]):
        oy = np.int64(row)
        mismatches = np.empty(w.shape[4], np.uint64)
        acc = np.empty((out.shape[1], out.shape[2]), np.int32)
        _xnor_row(x, w, inputs, oy, stride, padding, dilation, pad_value, mismatches, acc)
        for ox in range(out.shape[1]):
            for o in range(out.shape[2]):
                out[oy, ox, o] = np.float32(acc[ox, o]) * scale[o] + bias[o]


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


@kernel(parallel=True, fastmath={"contract"})
def float_conv2d(
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    out: np.ndarray,
) -> None:
    """Float convolution, zero-padded: out [OH, OW, G * O]. `contract` lets a multiply and an add round once."""
    groups, kh, kw, inputs, outputs = w.shape
    for row in prange(out.shape[0]):
        oy = np.int64(row)
        acc = np.empty(outputs, np.float32)
        for ox in range(out.shape[1]):
            for g in range(groups):
                for o in range(outputs):
                    acc[o] = bias[g * outputs + o]
                for ky in range(kh):
                    iy = oy * stride[0] - padding[0] + ky * dilation[0]
                    if iy < 0 or iy >= x.shape[0]:
                        continue
                    for kx in range(kw):
                        ix = ox * stride[1] - padding[1] + kx * dilation[1]
                        if ix < 0 or ix >= x.shape[1]:
                            continue
                        for i in range(inputs):
                            v = x[iy, ix, g * inputs + i]
                            for o in range(outputs):
                                acc[o] += v * w[g, ky, kx, i, o]
                for o in range(outputs):
                    out[oy, ox, g * outputs + o] = acc[o]


@kernel(parallel=True)
def scale_shift(x: np.ndarray, scale: np.ndarray, shift: np.ndarray, out: np.ndarray) -> None:
    """x·scale + shift, rounded once (a product of floats is exact in float64): x, out [P, C]; scale, shift [C].

    This is the fused multiply-add that torch's BatchNorm computes, so that signs after it agree on every machine.
    """
    for p in prange(x.shape[0]):
        for c in range(x.shape[1]):
            out[p, c] = np.float32(np.float64(x[p, c]) * np.float64(scale[c]) + np.float64(shift[c]))


@kernel(parallel=True)
def max_pool2d(x: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, out: np.ndarray) -> None:
    """Largest tap inside the map, NaN where one is: out [OH, OW, C]; -inf where no tap is inside."""
    for row in prange(out.shape[0]):
        oy = np.int64(row)
        for ox in range(out.shape[1]):
            out[oy, ox, :] = -np.inf
            for ky in range(kernel_size[0]):
                iy = oy * stride[0] - padding[0] + ky * dilation[0]
                if iy < 0 or iy >= x.shape[0]:
                    continue
                for kx in range(kernel_size[1]):
                    ix = ox * stride[1] - padding[1] + kx * dilation[1]
                    if ix < 0 or ix >= x.shape[1]:
                        continue
                    for c in range(x.shape[2]):
                        v = x[iy, ix, c]
                        if v > out[oy, ox, c] or v != v:
                            out[oy, ox, c] = v


@kernel(parallel=True)
def avg_pool2d(
    x: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair, count_include_pad: bool, out: np.ndarray
) -> None:
    """Mean over a window as torch divides it: taps inside the map, or inside map and padding. out [OH, OW, C]."""
    height, width, channels = x.shape
    for row in prange(out.shape[0]):
        oy = np.int64(row)
        top = oy * stride[0] - padding[0]
        bottom = min(top + kernel_size[0], height + padding[0])
        for ox in range(out.shape[1]):
            left = ox * stride[1] - padding[1]
            right = min(left + kernel_size[1], width + padding[1])
            rows = range(max(top, 0), min(bottom, height))  # type: ignore[call-overload]
            columns = range(max(left, 0), min(right, width))
            count = (bottom - top) * (right - left) if count_include_pad else len(rows) * len(columns)
            out[oy, ox, :] = 0.0
            for iy in rows:
                for ix in columns:
                    for c in range(channels):
                        out[oy, ox, c] += x[iy, ix, c]
            for c in range(channels):
                out[oy, ox, c] /= np.float32(count)


@kernel()
def nms(boxes: np.ndarray, labels: np.ndarray, iou_threshold: float, limit: int, keep: np.ndarray) -> int:
    """Greedy suppression within each label; boxes float32 (N, 4) by falling score.

    Writes the first `limit` survivors' indices to `keep` and returns how many there are. A box goes where its
    IoU = intersection / union with a survivor is above the threshold; two boxes without area have IoU nan and stay.
    """
    found = 0
    for n in range(boxes.shape[0]):
        if found == limit:
            break
        x0, y0, x1, y1 = boxes[n, 0], boxes[n, 1], boxes[n, 2], boxes[n, 3]
        area = (x1 - x0) * (y1 - y0)
        alive = True
        for k in range(found):
            m = keep[k]
            if labels[m] == labels[n]:
                width = max(np.float32(0), min(x1, boxes[m, 2]) - max(x0, boxes[m, 0]))
                height = max(np.float32(0), min(y1, boxes[m, 3]) - max(y0, boxes[m, 1]))
                shared = width * height
                other = (boxes[m, 2] - boxes[m, 0]) * (boxes[m, 3] - boxes[m, 1])
                if shared / (other + area - shared) > iou_threshold:
                    alive = False
                    break
        if alive:
            keep[found] = n
            found += 1
    return found
