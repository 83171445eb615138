"""Packed signs: packing, and layers through XNOR and popcount.

Packed weights are [G, kh, kw, words, O] (O: output channels of one group). Every layer here is one sum,
K - 2 popcount((x xor w) and inside), over the K taps that are inside or padded with a sign.
"""

from collections.abc import Iterator

import numpy as np

from bnn_tasks.runtime.kinds import WORD, words
from bnn_tasks.runtime.layouts import pack_flags
from bnn_tasks.runtime.reference.windows import Pair, Windows, bands


def pack(x: np.ndarray, threshold: np.ndarray, groups: int) -> tuple[np.ndarray, int]:
    """Bits of x >= threshold, [..., groups·words] of x [..., C] and threshold (C) or (1); and how many x are NaN."""
    flags = x >= threshold
    nans = int(np.count_nonzero(np.isnan(x)))
    return pack_flags(flags.reshape(*x.shape[:-1], groups, -1)), nans


def ones_row(channels: int) -> np.ndarray:
    """Packed bits of `channels` times +1, (words,); tail bits are 0."""
    row = np.full(words(channels), np.uint64(2**WORD - 1))
    row[-1] >>= np.uint64(words(channels) * WORD - channels)
    return row


def tile_bits(packed: np.ndarray, inputs: int, groups: int, kernel: Pair) -> np.ndarray:
    """Canonical weights, rows of OIHW bits uint8 [G·O, bytes], as [G, kh, kw, words, O]."""
    outputs = len(packed) // groups
    tiled = np.empty((groups, *kernel, words(inputs), outputs), np.uint64)
    for band in bands(len(packed), 16 * packed.shape[1]):
        bits = np.unpackbits(packed[band], axis=1, count=inputs * kernel[0] * kernel[1], bitorder="little")
        taps = bits.reshape(-1, inputs, *kernel).transpose(0, 2, 3, 1)
        row = np.arange(band.start, band.stop)
        tiled[row // outputs, :, :, :, row % outputs] = pack_flags(taps[..., None, :])
    return tiled


def xnor_accumulate(x: np.ndarray, w: np.ndarray, inputs: int, windows: Windows, pad_value: int) -> np.ndarray:
    """Binary convolution, raw: int32 [OH, OW, G·O].

    Args:
        x: [H, W, G·words].
        w: [G, kh, kw, words, O].
        inputs: true channels of one group.
        windows: the geometry.
        pad_value: what a tap outside the map counts: 0, +1 or -1.
    """
    out = np.empty((windows.count, w.shape[0] * w.shape[4]), np.int32)
    for band, acc in _xnor_bands(x, w, inputs, windows, pad_value):
        out[band] = acc
    return out.reshape(*windows.size, -1)


def xnor_float(
    x: np.ndarray,
    w: np.ndarray,
    inputs: int,
    windows: Windows,
    pad_value: int,
    scale: np.ndarray,
    bias: np.ndarray,
    second: np.ndarray | None,
) -> np.ndarray:
    """Binary convolution, then `add_scaled`: float32 [OH, OW, G·O]; arguments as of `xnor_accumulate`."""
    out = np.empty((windows.count, len(scale)), np.float32)
    rows = None if second is None else second.reshape(out.shape)
    for band, acc in _xnor_bands(x, w, inputs, windows, pad_value):
        out[band] = add_scaled(acc.astype(np.float32), scale, bias, None if rows is None else rows[band])
    return out.reshape(*windows.size, -1)


def xnor_bits(
    x: np.ndarray,
    w: np.ndarray,
    inputs: int,
    windows: Windows,
    pad_value: int,
    threshold: np.ndarray,
    flip: np.ndarray,
    out_groups: int,
) -> np.ndarray:
    """Binary convolution, then (acc >= threshold) xor flip: [OH, OW, out_groups·words]; arguments as of `xnor_accumulate`."""
    made = words(len(threshold) // out_groups)
    out = np.empty((windows.count, out_groups * made), np.uint64)
    for band, acc in _xnor_bands(x, w, inputs, windows, pad_value):
        flags = (acc >= threshold) != (flip != 0)
        out[band] = pack_flags(flags.reshape(len(acc), out_groups, -1))
    return out.reshape(*windows.size, -1)


def patch_accumulate(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Products of packed patches: int32 [OH, OW, G·O].

    x [OH, OW, (G + 1)·words] holds the signs of every group and then, once, which taps are inside; w [G, 1, 1, words, O].
    """
    groups, _, _, width, outputs = w.shape
    rows = x.reshape(-1, 1, groups + 1, width)
    out = np.empty((len(rows), groups * outputs), np.int32)
    for band in bands(len(rows), _product_bytes(w)):
        out[band] = _product(rows[band, :, :groups], rows[band, :, groups], w)
    return out.reshape(*x.shape[:2], -1)


def add_scaled(sums: np.ndarray, scale: np.ndarray, bias: np.ndarray, second: np.ndarray | None) -> np.ndarray:
    """(second, if there is one) + sums·scale + bias, rounded to float32 after each step; `sums` is written over."""
    sums *= scale
    if second is not None:
        sums += second
    sums += bias
    return sums


def _xnor_bands(
    x: np.ndarray, w: np.ndarray, inputs: int, windows: Windows, pad_value: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Bands of output pixels and their accumulators, int32 [n, G·O]."""
    groups, width = w.shape[0], w.shape[3]
    ones = ones_row(inputs)
    pad = np.tile(ones if pad_value > 0 else np.zeros_like(ones), groups)
    for band, patches, inside in windows.patches(x, pad, _product_bytes(w) + 8 * windows.taps * width):
        counts = inside if pad_value == 0 else np.ones_like(inside)
        taps = np.where(counts[..., None], ones, np.uint64(0))
        yield band, _product(patches.reshape(*inside.shape, groups, width), taps, w)


def _product(x: np.ndarray, inside: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Accumulators, int32 [n, G·O], of signs x [n, kh·kw, G, words] where `inside` [n, kh·kw, words] has bits."""
    groups, kh, kw, width, outputs = w.shape
    mismatches = np.zeros((len(x), groups, outputs), np.int32)
    differ = np.empty(mismatches.shape, np.uint64)
    for tap, k in np.ndindex(kh * kw, width):
        np.bitwise_xor(x[:, tap, :, k, None], w[:, tap // kw, tap % kw, k], out=differ)
        differ &= inside[:, tap, k, None, None]
        mismatches += np.bitwise_count(differ)
    taps = np.bitwise_count(inside).sum(axis=(1, 2), dtype=np.int64)
    return (taps[:, None, None] - 2 * mismatches.astype(np.int64)).astype(np.int32).reshape(len(x), -1)


def _product_bytes(w: np.ndarray) -> int:
    """Scratch of `_product` for one pixel."""
    return 32 * w.shape[0] * w.shape[4]
