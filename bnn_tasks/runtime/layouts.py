"""Between the runtime's layouts (maps [H, W, C], packed bits) and those a caller sees (C, H, W; int8 ±1)."""

import numpy as np

from bnn_tasks.runtime.kinds import WORD, BitMap, BitVector, Boxes, FloatMap, Kind, PatchBits, Vector, known, words

Bits = BitMap | BitVector | PatchBits


def public_shape(kind: Kind) -> tuple[int, ...]:
    """Shape of a value of fixed size as a caller sees it."""
    if isinstance(kind, FloatMap | BitMap | PatchBits):
        return kind.channels, known(kind.height), known(kind.width)
    if isinstance(kind, BitVector):
        return (known(kind.channels),)
    assert isinstance(kind, Vector | Boxes)
    return kind.shape


def _grouped(kind: Bits) -> tuple[int, int]:
    """Groups, and channels of one."""
    groups = 1 if isinstance(kind, BitVector) else kind.groups
    return groups, known(kind.channels) // groups


def _unpack(bits: np.ndarray, groups: int, channels: int) -> np.ndarray:
    """0 and 1, int8 (..., groups, channels), of packed words."""
    octets = bits.astype("<u8").view(np.uint8).reshape(*bits.shape[:-1], groups, -1)
    return np.unpackbits(octets, axis=-1, count=channels, bitorder="little").astype(np.int8)


def pack_flags(flags: np.ndarray) -> np.ndarray:
    """Packed words, uint64 (..., groups * words), of 0 and 1 (..., groups, channels)."""
    octets = np.packbits(flags, axis=-1, bitorder="little")
    padded = np.zeros((*flags.shape[:-1], words(flags.shape[-1]) * (WORD // 8)), np.uint8)
    padded[..., : octets.shape[-1]] = octets
    return padded.view("<u8").reshape(*flags.shape[:-2], -1).astype(np.uint64, copy=False)


def bits_to_signs(bits: np.ndarray, kind: Bits) -> np.ndarray:
    """Int8 ±1, (C, H, W) or (C,), of packed words; 0 for a tap of a patch that is outside."""
    groups, channels = _grouped(kind)
    if isinstance(kind, PatchBits):
        flags = _unpack(bits, groups + 1, channels)
        signs = (2 * flags[..., :groups, :] - 1) * flags[..., groups:, :]
    else:
        signs = 2 * _unpack(bits, groups, channels) - 1
    return np.ascontiguousarray(np.moveaxis(signs.reshape(*bits.shape[:-1], groups * channels), -1, 0))


def signs_to_bits(signs: np.ndarray, kind: Bits) -> np.ndarray:
    """Packed words of int8 ±1, (C, H, W) or (C,); the inverse of `bits_to_signs`."""
    groups, channels = _grouped(kind)
    last = np.moveaxis(signs, 0, -1)
    last = last.reshape(*last.shape[:-1], groups, channels)
    flags = last > 0
    if isinstance(kind, PatchBits):
        flags = np.concatenate([flags, last[..., :1, :] != 0], axis=-2)
    return pack_flags(flags)


def to_public(value: np.ndarray, kind: Kind) -> np.ndarray:
    """A value as a caller sees it."""
    if isinstance(kind, BitMap | BitVector | PatchBits):
        return bits_to_signs(value, kind)
    if isinstance(kind, FloatMap):
        return np.ascontiguousarray(value.transpose(2, 0, 1))
    return value
