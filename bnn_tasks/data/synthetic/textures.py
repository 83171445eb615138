"""Textures: fields in [0, 1] that mix two colours."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image

Field = Callable[[np.random.Generator, int, int], np.ndarray]


def _ramp(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Signed distance, in pixels, from a line through the middle in a random direction."""
    angle = rng.uniform(0, 2 * math.pi)
    y = np.arange(height, dtype=np.float32)[:, None] - height / 2
    x = np.arange(width, dtype=np.float32)[None] - width / 2
    return (x * math.cos(angle) + y * math.sin(angle)).astype(np.float32)


def flat(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return one colour."""
    return np.full((height, width), rng.uniform(0, 1), np.float32)


def gradient(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return one colour going over into the other."""
    return (_ramp(rng, height, width) / math.hypot(height, width) + 0.5).clip(0, 1)


def stripes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return soft stripes of 5 to 20 pixels a period."""
    return 0.5 + 0.5 * np.sin(_ramp(rng, height, width) * np.float32(2 * math.pi / rng.uniform(5, 20)))


def checks(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return a chequerboard of squares of 4 to 14 pixels."""
    side = rng.uniform(4, 14)
    rows, columns = np.arange(height)[:, None] // side, np.arange(width)[None] // side
    return ((rows + columns) % 2).astype(np.float32)


def clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return smooth noise of a random grain."""
    cells = int(rng.integers(3, 16))
    small = Image.fromarray(rng.random((cells, cells), np.float32))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1)


def grain(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return a value of its own for every pixel."""
    return rng.random((height, width), np.float32)


FIELDS: tuple[Field, ...] = (flat, gradient, stripes, checks, clouds, grain)


def paint(rng: np.random.Generator, height: int, width: int, colours: np.ndarray) -> np.ndarray:
    """Mix two colours by a random field.

    Args:
        rng: random numbers.
        height: pixels.
        width: pixels.
        colours: (2, 3), 0..255.

    Returns:
        (height, width, 3) float32, 0..255.
    """
    field = FIELDS[int(rng.integers(len(FIELDS)))](rng, height, width)[..., None]
    first, second = colours.astype(np.float32)
    return first + field * (second - first)
