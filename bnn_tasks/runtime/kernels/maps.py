"""Loops over real maps: convolution, BatchNorm, pooling, and the suppression of boxes.

Float weights are [G, kh, kw, I, O] (I, O: channels of one group).
"""

import numpy as np
from numba import prange

from bnn_tasks.runtime.jit import kernel

Pair = tuple[int, int]


@kernel(parallel=True, fastmath={"contract"})
def float_conv2d(
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    pad_value: int,
    out: np.ndarray,
) -> None:
    """Float convolution: out [OH, OW, G * O]; a tap outside the map is skipped (`pad_value` 0) or has that value.

    `contract` lets a multiply and an add round once.
    """
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
                    for kx in range(kw):
                        ix = ox * stride[1] - padding[1] + kx * dilation[1]
                        inside = 0 <= iy < x.shape[0] and 0 <= ix < x.shape[1]
                        if not inside and pad_value == 0:
                            continue
                        for i in range(inputs):
                            v = x[iy, ix, g * inputs + i] if inside else np.float32(pad_value)
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
