"""Weights as the tiles read them, and parameters as the passes read them: per block, lanes behind the last channel neutral."""

import numpy as np

from bnn_tasks.runtime.kinds import WORD, words
from bnn_tasks.runtime.program.memory import aligned
from bnn_tasks.runtime.simd.tiles import XNOR_BITS


def to_aligned(values: np.ndarray) -> np.ndarray:
    """The same values at a multiple of 64 bytes."""
    out = aligned(values.nbytes).view(values.dtype).reshape(values.shape)
    out[...] = values
    return out


def by_lane(values: np.ndarray, groups: int, lanes: int, neutral: float) -> np.ndarray:
    """Values of the channels, (O) or (n, O), on the lanes of all blocks: (..., groups · blocks · lanes), and 64 more."""
    per_group = values.shape[-1] // groups
    blocks = -(-per_group // lanes)
    out = np.full((*values.shape[:-1], groups, blocks * lanes), neutral, values.dtype)
    out[..., :per_group] = values.reshape(*values.shape[:-1], groups, per_group)
    flat = out.reshape(*values.shape[:-1], -1)
    slack = np.full((*values.shape[:-1], 64), neutral, values.dtype)
    return to_aligned(np.concatenate([flat, slack], axis=-1))


def unpack(weight: np.ndarray, inputs: int, kernel: tuple[int, int]) -> np.ndarray:
    """Rows of bits, uint8 (O, ⌈I·kh·kw/8⌉), as 0 and 1: uint8 (O, I, kh, kw)."""
    taps = inputs * kernel[0] * kernel[1]
    return np.unpackbits(weight, axis=1, count=taps, bitorder="little").reshape(len(weight), inputs, *kernel)


def _blocks(values: np.ndarray, groups: int, lanes: int, tile: int) -> np.ndarray:
    """(O, ...) as (groups · blocks, tiles of a block, ..., lanes of a tile); missing channels are 0."""
    per_group = len(values) // groups
    blocks = -(-per_group // lanes)
    padded = np.zeros((groups, blocks * lanes, *values.shape[1:]), values.dtype)
    padded[:, :per_group] = values.reshape(groups, per_group, *values.shape[1:])
    tiled = padded.reshape(groups * blocks, lanes // tile, tile, *values.shape[1:])
    return np.moveaxis(tiled, 2, -1)


def xnor_weights(bits: np.ndarray, groups: int, lanes: int, tile: int) -> np.ndarray:
    """Bits (O, I, kh, kw) as [blocks, tiles, kh, kw, words, tile], words of `XNOR_BITS` bits."""
    outputs, inputs, kh, kw = bits.shape
    padded = np.zeros((outputs, kh, kw, words(inputs) * WORD), np.uint8)
    padded[..., :inputs] = bits.transpose(0, 2, 3, 1)
    packed = np.packbits(padded, axis=-1, bitorder="little").view(f"<u{XNOR_BITS // 8}")
    packed = packed.astype(packed.dtype.newbyteorder("="))
    return to_aligned(_blocks(packed, groups, lanes, tile))


def float_weights(weight: np.ndarray, groups: int, lanes: int, tile: int) -> np.ndarray:
    """Weights (O, I, kh, kw) as float32 [blocks, tiles, kh, kw, I, tile]."""
    return to_aligned(_blocks(weight.transpose(0, 2, 3, 1), groups, lanes, tile))


def depthwise_weights(weight: np.ndarray, lanes: int) -> np.ndarray:
    """Weights (C, 1, kh, kw) as float32 [blocks, kh, kw, lanes]."""
    return to_aligned(_blocks(weight[:, 0], 1, lanes, lanes)[:, 0])


def signed_weights(bits: np.ndarray, groups: int, lanes: int, tile: int) -> np.ndarray:
    """Bits (O, I, kh, kw) as uint8 [blocks, tiles, kh, kw, I, tile / 8], a bit a channel."""
    blocks = _blocks(bits.transpose(0, 2, 3, 1), groups, lanes, tile)
    return to_aligned(np.packbits(blocks, axis=-1, bitorder="little"))
