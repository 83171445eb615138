"""Between the runtime's layouts (maps [H, W, C], packed bits) and those a caller sees (C, H, W; int8 ±1)."""

import numpy as np

from bnn_tasks.runtime.kinds import WORD, BitMap, BitVector, Boxes, FloatMap, Kind, Vector, known, words


def public_shape(kind: Kind) -> tuple[int, ...]:
    """Shape of a value of fixed size as a caller sees it."""
    if isinstance(kind, FloatMap | BitMap):
        return kind.channels, known(kind.height), known(kind.width)
    if isinstance(kind, BitVector):
        return (known(kind.channels),)
    assert isinstance(kind, Vector | Boxes)
    return kind.shape


def _grouped(kind: BitMap | BitVector) -> tuple[int, int]:
    """Groups, and channels of one."""
    groups = kind.groups if isinstance(kind, BitMap) else 1
    return groups, known(kind.channels) // groups


def bits_to_signs(bits: np.ndarray, kind: BitMap | BitVector) -> np.ndarray:
    """Int8 ±1, (C, H, W) or (C,), of packed words."""
    groups, channels = _grouped(kind)
    octets = bits.astype("<u8").view(np.uint8).reshape(*bits.shape[:-1], groups, -1)
    flags = np.unpackbits(octets, axis=-1, count=channels, bitorder="little")
    signs = (2 * flags.astype(np.int8) - 1).reshape(*bits.shape[:-1], groups * channels)
    return np.ascontiguousarray(np.moveaxis(signs, -1, 0))


def signs_to_bits(signs: np.ndarray, kind: BitMap | BitVector) -> np.ndarray:
    """Packed words of int8 ±1, (C, H, W) or (C,)."""
    groups, channels = _grouped(kind)
    last = np.moveaxis(signs, 0, -1)
    flags = np.zeros((*last.shape[:-1], groups, words(channels) * WORD), np.uint8)
    flags[..., :channels] = last.reshape(*last.shape[:-1], groups, channels) > 0
    packed = np.packbits(flags, axis=-1, bitorder="little").view("<u8")
    return packed.reshape(*last.shape[:-1], -1).astype(np.uint64)


def to_public(value: np.ndarray, kind: Kind) -> np.ndarray:
    """A value as a caller sees it."""
    if isinstance(kind, BitMap | BitVector):
        return bits_to_signs(value, kind)
    if isinstance(kind, FloatMap):
        return np.ascontiguousarray(value.transpose(2, 0, 1))
    return value
