"""Fitting pictures of any size to a net's input size, and moving boxes along."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

Window = tuple[float, float, float, float]
Size = tuple[int, int]

MAX_SIDE = 8192  # largest side of a canvas; the runtime's limit for every map
FILL = 114  # grey around a letterboxed picture: `letterbox(color=(114, 114, 114))` of YOLOv5 and YOLOX


class Placement(NamedTuple):
    """Where a picture lies on the canvas: canvas = image · scale + offset, per axis; a negative scale is a flip.

    A named tuple, since Lightning moves batches by rebuilding every container and refuses frozen dataclasses.

    Attributes:
        scale_x: canvas pixels per image pixel.
        scale_y: canvas pixels per image pixel.
        offset_x: canvas x of the image's x = 0.
        offset_y: canvas y of the image's y = 0.
        width: of the image, in pixels.
        height: of the image, in pixels.
    """

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float
    width: int
    height: int

    def to_canvas(self, boxes: np.ndarray) -> np.ndarray:
        """Move boxes from image to canvas pixels, unclipped.

        Args:
            boxes: (N, 4) xyxy, image pixels.

        Returns:
            (N, 4) xyxy float32, canvas pixels.
        """
        scale, offset = self._affine()
        return self._ordered(_boxes(boxes) * scale + offset).astype(np.float32)

    def to_image(self, boxes: np.ndarray) -> np.ndarray:
        """Move boxes from canvas to image pixels, clipped to the image.

        Args:
            boxes: (N, 4) xyxy, canvas pixels.

        Returns:
            (N, 4) xyxy float32, image pixels: x in [0, width], y in [0, height].
        """
        scale, offset = self._affine()
        limit = np.array([self.width, self.height, self.width, self.height], np.float64)
        return self._ordered((_boxes(boxes) - offset) / scale).clip(0, limit).astype(np.float32)

    def _affine(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array([self.scale_x, self.scale_y] * 2), np.array([self.offset_x, self.offset_y] * 2)

    def _ordered(self, boxes: np.ndarray) -> np.ndarray:
        columns = [2, 1, 0, 3] if self.scale_x < 0 else [0, 1, 2, 3]
        if self.scale_y < 0:
            columns[1], columns[3] = columns[3], columns[1]
        return boxes[:, columns]


def _boxes(boxes: np.ndarray) -> np.ndarray:
    boxes = np.asarray(boxes, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"Expected `boxes` to be of shape (N, 4), but got {boxes.shape}; an empty set is (0, 4)")
    return boxes


def _letterbox(height: int, width: int, size: Size) -> Window:
    """Keep the aspect ratio, centred; the picture's edges fall on whole canvas pixels."""
    scale = min(size[0] / height, size[1] / width)
    inner_h, inner_w = (min(side, max(1, round(n * scale))) for side, n in zip(size, (height, width)))
    scale_y, scale_x = inner_h / height, inner_w / width
    x0, y0 = -((size[1] - inner_w) // 2) / scale_x, -((size[0] - inner_h) // 2) / scale_y
    return x0, y0, x0 + size[1] / scale_x, y0 + size[0] / scale_y


def _stretch(height: int, width: int, size: Size) -> Window:
    """Let the picture fill the canvas, whatever its aspect ratio."""
    return 0.0, 0.0, float(width), float(height)


# A rule is the window, in image pixels, that the canvas shows.
RULES: dict[str, Callable[[int, int, Size], Window]] = {"letterbox": _letterbox, "stretch": _stretch}


@dataclass(frozen=True)
class Resize:
    """How a picture of any size becomes a canvas of one of a few sizes; bilinear with antialiasing.

    Attributes:
        sizes: (height, width) of the canvases, each side 1..8192; one entry is a fixed size, several are buckets.
        rule: ``"letterbox"`` keeps the aspect ratio, centred, and fills the rest with grey ``FILL``;
            ``"stretch"`` fills the canvas.
    """

    sizes: tuple[Size, ...]
    rule: str = "letterbox"

    def __post_init__(self) -> None:
        if not isinstance(self.sizes, tuple) or not self.sizes:
            raise ValueError(f"Expected `sizes` to be a tuple of (height, width) pairs, but got {self.sizes!r}")
        for size in self.sizes:
            pair = isinstance(size, tuple) and len(size) == 2 and all(type(side) is int for side in size)
            if not pair or not all(1 <= side <= MAX_SIDE for side in size):
                raise ValueError(f"Expected each of `sizes` to be two integers in 1..{MAX_SIDE}, but got {size!r}")
        if not isinstance(self.rule, str) or self.rule not in RULES:
            raise ValueError(f"Expected `rule` to be one of {sorted(RULES)}, but got {self.rule!r}")

    def bucket(self, height: int, width: int) -> Size:
        """Return the size whose aspect ratio is nearest in log space; the first one on a tie.

        Args:
            height: of the image, in pixels.
            width: of the image, in pixels.
        """

        def distance(size: Size) -> float:  # exp |log(h/w) - log(H/W)|: one rounding, so that ties are exact
            a, b = height * size[1], width * size[0]
            return max(a, b) / min(a, b)

        return min(self.sizes, key=distance)

    def window(self, height: int, width: int, size: Size) -> Window:
        """Return the part of the image that a canvas shows by the rule.

        Args:
            height: of the image, in pixels.
            width: of the image, in pixels.
            size: (height, width) of the canvas.

        Returns:
            (x0, y0, x1, y1) in image pixels, which reaches beyond the image where the canvas is filled.
        """
        return RULES[self.rule](height, width, size)

    def fit(
        self, image: np.ndarray, window: Window | None = None, size: Size | None = None
    ) -> tuple[np.ndarray, Placement]:
        """Draw a window of the image on a canvas, in one resampling.

        Args:
            image: (height, width, 3) uint8 RGB.
            window: (x0, y0, x1, y1) in image pixels, shown on the whole canvas; it may reach beyond the image. By
                default the rule's.
            size: (height, width) of the canvas; by default the image's bucket.

        Returns:
            The (H, W, 3) uint8 canvas, and where the image lies on it.

        Raises:
            ValueError: ``image`` is no such array or is empty, or the window is empty or not finite.
        """
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise ValueError(f"Expected `image` to be a (height, width, 3) uint8 RGB array, but got {got}")
        height, width = image.shape[:2]
        if height < 1 or width < 1:
            raise ValueError(f"Expected `image` to have pixels, but got shape {image.shape}")
        size = size or self.bucket(height, width)
        x0, y0, x1, y1 = window or self.window(height, width, size)
        if not (math.isfinite(x0 + y0 + x1 + y1) and x0 < x1 and y0 < y1):
            raise ValueError(f"Expected `window` to be x0 < x1 and y0 < y1, finite, but got {window}")
        scale_x, scale_y = size[1] / (x1 - x0), size[0] / (y1 - y0)
        placement = Placement(scale_x, scale_y, 0.0 - x0 * scale_x, 0.0 - y0 * scale_y, width, height)
        left, right, box_left, box_right = _span(placement.scale_x, placement.offset_x, width, size[1])
        top, bottom, box_top, box_bottom = _span(placement.scale_y, placement.offset_y, height, size[0])
        if left == right or top == bottom:
            return np.full((*size, 3), FILL, np.uint8), placement
        part = Image.fromarray(image).resize(
            (right - left, bottom - top), Image.Resampling.BILINEAR, box=(box_left, box_top, box_right, box_bottom)
        )
        if (bottom - top, right - left) == size:
            return np.array(part), placement
        canvas = np.full((*size, 3), FILL, np.uint8)
        canvas[top:bottom, left:right] = np.asarray(part)
        return canvas, placement

    def to_dict(self) -> dict[str, Any]:
        """Return what ``from_dict`` reads, in JSON's types."""
        return {"sizes": [list(size) for size in self.sizes], "rule": self.rule}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Resize":
        """Rebuild a ``Resize`` from ``{"sizes": [[H, W], ...], "rule": str}``.

        Args:
            values: exactly these two keys.

        Raises:
            ValueError: another key, a missing one, or values out of range.
        """
        if not isinstance(values, Mapping) or set(values) != {"sizes", "rule"}:
            raise ValueError(f"Expected a resize rule of exactly the keys 'sizes' and 'rule', but got {values!r}")
        sizes = values["sizes"]
        if not isinstance(sizes, list | tuple) or not all(isinstance(size, list | tuple) for size in sizes):
            raise ValueError(f"Expected 'sizes' to be a list of [height, width] pairs, but got {sizes!r}")
        return cls(tuple(tuple(size) for size in sizes), values["rule"])


def covered_pixels(scale: float, offset: float, length: int, side: int) -> tuple[int, int]:
    """The canvas pixels of one axis that a picture is drawn on: those that it covers whole, or one where it is thinner.

    Args:
        scale: canvas pixels a picture pixel; negative for a flip.
        offset: canvas coordinate of the picture's coordinate 0.
        length: of the picture, pixels.
        side: of the canvas, pixels.

    Returns:
        The first, and the one after the last; twice the same where the picture lies beside the canvas.
    """
    if scale < 0:  # drawn first and flipped then: what is thinner than a pixel is rounded before the flip
        start, stop = covered_pixels(-scale, side - offset, length, side)
        return side - stop, side - start
    tolerance = 1e-6  # canvas pixels; forgives the rounding of an edge that is meant to be whole
    low, high = max(0.0, offset), min(float(side), length * scale + offset)
    if low >= high:
        return 0, 0
    start, stop = math.ceil(low - tolerance), math.floor(high + tolerance)
    if start >= stop:  # thinner than a pixel: drawn as one
        start = min(math.floor(low), side - 1)
        stop = start + 1
    return start, stop


def _span(scale: float, offset: float, length: int, side: int) -> tuple[int, int, float, float]:
    """Whole canvas pixels that one axis of the image covers, and the image coordinates of their edges."""
    start, stop = covered_pixels(scale, offset, length, side)
    if start == stop:
        return 0, 0, 0.0, 0.0
    begin, end = ((edge - offset) / scale for edge in (start, stop))
    return start, stop, max(0.0, begin), min(float(length), end)
