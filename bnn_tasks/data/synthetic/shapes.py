"""The shapes that are the classes, as polygons, and their antialiased masks."""

import math

import numpy as np
from PIL import Image, ImageDraw

SUPERSAMPLING = 4


def _regular(corners: int, radii: tuple[float, ...] = (1.0,)) -> np.ndarray:
    """Corners on circles of the given radii in turn, the first one up."""
    angles = 2 * math.pi * np.arange(corners) / corners - math.pi / 2
    radius = np.resize(radii, corners)
    return np.column_stack([radius * np.cos(angles), radius * np.sin(angles)])


_CROSS = [(1, 3), (1, 1), (3, 1), (3, -1), (1, -1), (1, -3), (-1, -3), (-1, -1), (-3, -1), (-3, 1), (-1, 1), (-1, 3)]

SHAPES: dict[str, np.ndarray] = {  # (corners, 2) xy, within about one unit of the origin
    "circle": _regular(48),
    "square": _regular(4) * 1.1,
    "triangle": _regular(3) * 1.2,
    "star": _regular(10, (1.2, 0.5)),
    "cross": np.array(_CROSS) / 3,
}


def place(shape: str, centre: tuple[float, float], radius: float, aspect: float, turn: float) -> np.ndarray:
    """Stretch, turn, scale and move a shape.

    Args:
        shape: a key of ``SHAPES``.
        centre: (x, y), pixels.
        radius: pixels, > 0.
        aspect: width over height before turning, > 0.
        turn: radians.

    Returns:
        (corners, 2) xy, pixels.
    """
    stretched = SHAPES[shape] * (math.sqrt(aspect), 1 / math.sqrt(aspect))
    cos, sin = math.cos(turn), math.sin(turn)
    return stretched @ np.array([[cos, sin], [-sin, cos]]) * radius + centre


def mask(polygon: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Draw a polygon.

    Args:
        polygon: (corners, 2) xy, pixels.

    Returns:
        Its (height, width) uint8 coverage, 255 inside, and the x and y of the coverage's first pixel.
    """
    low = np.floor(polygon.min(0)).astype(int) - 1
    width, height = (np.ceil(polygon.max(0)).astype(int) + 1 - low).tolist()
    image = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING))
    corners = (polygon - low) * SUPERSAMPLING - 0.5  # Pillow's coordinates are those of pixel centres
    ImageDraw.Draw(image).polygon(corners.ravel().tolist(), fill=255)
    return np.asarray(image.reduce(SUPERSAMPLING)), int(low[0]), int(low[1])
