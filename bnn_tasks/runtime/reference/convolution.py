"""Real-valued convolution."""

import numpy as np

from bnn_tasks.runtime.reference.windows import Windows


def float_conv2d(x: np.ndarray, w: np.ndarray, bias: np.ndarray, windows: Windows, pad_value: int = 0) -> np.ndarray:
    """Float convolution: [OH, OW, G·O] of x [H, W, G·I] and w [G, kh, kw, I, O]; float32 sums, the bias last.

    A tap outside the map has the value `pad_value`. Every group's patches are the rows of one matrix product.
    """
    groups, _, _, inputs, outputs = w.shape
    matrix = w.reshape(groups, -1, outputs)
    out = np.empty((windows.count, groups, outputs), np.float32)
    pad = np.full(x.shape[2], pad_value, np.float32)
    for band, patches, _ in windows.patches(x, pad, 4 * (windows.taps * x.shape[2] + 2 * groups * outputs)):
        rows = patches.reshape(len(patches), windows.taps, groups, inputs).transpose(2, 0, 1, 3)
        out[band] = (rows.reshape(groups, len(patches), -1) @ matrix).transpose(1, 0, 2)
    out = out.reshape(*windows.size, -1)
    out += bias
    return out
