"""One generated picture: a textured background, clutter, and overlapping shapes, or one shape alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from bnn_tasks.data.synthetic.shapes import mask, place
from bnn_tasks.data.synthetic.textures import paint

EMPTY_SHARE = 0.08  # of the pictures
MAX_OBJECTS = 7
RADIUS = (0.06, 0.24)  # of the picture's shorter side, log-uniform
LEAST_VISIBLE = 0.25  # an object of which less is seen is left out
DIFFICULT_VISIBLE = 0.5  # an object of which less is seen is difficult
PORTRAIT_RADIUS = (0.25, 0.38)  # of the picture's shorter side
PORTRAIT_MARGIN = 1.3  # radii between centre and edge: a stretched star's longest arm
CONTRAST = 80.0  # least distance of an object's colours from the background's mean, of 441


@dataclass(frozen=True)
class SceneObject:
    """One shape in a picture.

    Attributes:
        name: of its class.
        box: xyxy in whole pixels, continuous: the full shape's extent inside the picture, hidden parts included.
        difficult: whether less than half of it is seen.
    """

    name: str
    box: tuple[int, int, int, int]
    difficult: bool


@dataclass(frozen=True)
class _Drawn:
    name: str
    alpha: np.ndarray  # (height, width) uint8, of the part inside the picture
    rows: slice
    columns: slice
    pixels: int  # of the full shape, the part outside the picture included


def scene(
    rng: np.random.Generator, height: int, width: int, classes: Sequence[str]
) -> tuple[Image.Image, list[SceneObject]]:
    """Draw a picture.

    Args:
        rng: random numbers; the same ones give the same picture.
        height: pixels.
        width: pixels.
        classes: keys of ``SHAPES``.

    Returns:
        The RGB picture and its objects, the hindmost first.
    """
    canvas, kept = _compose(rng, height, width, classes)
    shares = _visible(kept, height, width)
    objects = [SceneObject(shape.name, _box(shape), share < DIFFICULT_VISIBLE) for shape, share in zip(kept, shares)]
    return _finish(rng, canvas), objects


def labelled_scene(
    rng: np.random.Generator, height: int, width: int, classes: Sequence[str]
) -> tuple[Image.Image, np.ndarray]:
    """Draw the picture that ``scene`` draws, and its mask.

    Args:
        rng: random numbers; the same ones give the same picture.
        height: pixels.
        width: pixels.
        classes: keys of ``SHAPES``.

    Returns:
        The RGB picture, and its (height, width) uint8 mask: 0 is the background, i + 1 is ``classes[i]``. A pixel belongs to
        the foremost shape that covers at least half of it.
    """
    canvas, kept = _compose(rng, height, width, classes)
    owner = _owner(kept, height, width)
    labels = np.array([0, *(1 + list(classes).index(shape.name) for shape in kept)], np.uint8)
    return _finish(rng, canvas), labels[owner + 1]


def portrait(rng: np.random.Generator, height: int, width: int, name: str) -> Image.Image:
    """Draw a picture of one shape, whole and large.

    Args:
        rng: random numbers; the same ones give the same picture.
        height: pixels.
        width: pixels.
        name: a key of ``SHAPES``.

    Returns:
        The RGB picture.
    """
    canvas = _background(rng, height, width)
    radius = min(height, width) * rng.uniform(*PORTRAIT_RADIUS)
    margin = radius * PORTRAIT_MARGIN
    centre = (rng.uniform(margin, width - margin), rng.uniform(margin, height - margin))
    polygon = place(name, centre, radius, math.exp(rng.uniform(-0.15, 0.15)), rng.uniform(0, 2 * math.pi))
    _paint_over(rng, canvas, _inside(name, polygon, height, width), canvas.mean((0, 1)))
    return _finish(rng, canvas)


def _compose(
    rng: np.random.Generator, height: int, width: int, classes: Sequence[str]
) -> tuple[np.ndarray, list[_Drawn]]:
    """A float32 picture without grain, and the shapes in it, the hindmost first."""
    canvas = _background(rng, height, width)
    mean = canvas.mean((0, 1))
    count = 0 if rng.random() < EMPTY_SHARE else int(rng.integers(1, MAX_OBJECTS + 1))
    drawn = [_draw(rng, height, width, classes[int(rng.integers(len(classes)))]) for _ in range(count)]
    # Left-out shapes hid nothing from those they were behind, so the shares of the others can only grow.
    kept = [shape for shape, share in zip(drawn, _visible(drawn, height, width)) if share >= LEAST_VISIBLE]
    for shape in kept:
        _paint_over(rng, canvas, shape, mean)
    return canvas, kept


def _paint_over(rng: np.random.Generator, canvas: np.ndarray, shape: _Drawn, mean: np.ndarray) -> None:
    inner = canvas[shape.rows, shape.columns]
    alpha = shape.alpha[..., None] / np.float32(255)
    inner += alpha * (paint(rng, inner.shape[0], inner.shape[1], _contrasting(rng, mean)) - inner)


def _finish(rng: np.random.Generator, canvas: np.ndarray) -> Image.Image:
    """Add grain; float32 0..255 to a picture."""
    canvas += rng.standard_normal((*canvas.shape[:2], 1), np.float32) * rng.uniform(0, 8)
    return Image.fromarray(np.rint(canvas).clip(0, 255).astype(np.uint8))


def _background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    base = rng.uniform(40, 215, 3)
    colours = (base + rng.uniform(-40, 40, (2, 3))).clip(0, 255)
    image = Image.fromarray(paint(rng, height, width, colours).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(0, 7))):  # clutter that is no shape: open lines and arcs
        colour = tuple((base + rng.uniform(-90, 90, 3)).clip(0, 255).astype(int).tolist())
        x0, x1 = np.sort(rng.uniform(-0.2, 1.2, 2) * width).tolist()
        y0, y1 = np.sort(rng.uniform(-0.2, 1.2, 2) * height).tolist()
        thickness = int(rng.integers(1, 4))
        if rng.random() < 0.5:
            start = rng.uniform(0, 360)
            pen.arc((x0, y0, x1 + 1, y1 + 1), start, start + rng.uniform(40, 160), fill=colour, width=thickness)
        else:
            ends = (x0, y0, x1, y1) if rng.random() < 0.5 else (x0, y1, x1, y0)
            pen.line(ends, fill=colour, width=thickness)
    return np.asarray(image, np.float32).copy()


def _draw(rng: np.random.Generator, height: int, width: int, name: str) -> _Drawn:
    radius = min(height, width) * RADIUS[0] * (RADIUS[1] / RADIUS[0]) ** rng.random()
    margin = 0.4 * radius
    centre = (rng.uniform(margin, width - margin), rng.uniform(margin, height - margin))
    polygon = place(name, centre, radius, math.exp(rng.uniform(-0.25, 0.25)), rng.uniform(0, 2 * math.pi))
    return _inside(name, polygon, height, width)


def _inside(name: str, polygon: np.ndarray, height: int, width: int) -> _Drawn:
    """The part of a shape that is in the picture."""
    alpha, x, y = mask(polygon)
    x0, y0 = max(x, 0), max(y, 0)
    inside = alpha[y0 - y : height - y, x0 - x : width - x]
    rows, columns = slice(y0, y0 + inside.shape[0]), slice(x0, x0 + inside.shape[1])
    return _Drawn(name, inside, rows, columns, int((alpha > 127).sum()))


def _visible(drawn: Sequence[_Drawn], height: int, width: int) -> list[float]:
    """Share of each shape that is inside the picture and not behind a later one."""
    owner = _owner(drawn, height, width)
    return [float((owner[s.rows, s.columns] == i).sum() / max(s.pixels, 1)) for i, s in enumerate(drawn)]


def _owner(drawn: Sequence[_Drawn], height: int, width: int) -> np.ndarray:
    """(height, width) place of the foremost shape at each pixel; -1 where there is none."""
    owner = np.full((height, width), -1)
    for i, shape in enumerate(drawn):
        owner[shape.rows, shape.columns][shape.alpha > 127] = i
    return owner


def _contrasting(rng: np.random.Generator, mean: np.ndarray) -> np.ndarray:
    """Two colours that both stand out against the mean one."""
    candidates = rng.uniform(0, 255, (64, 3))
    distance = np.linalg.norm(candidates - mean, axis=1)
    return candidates[np.argsort(distance < CONTRAST, kind="stable")[:2]]


def _box(shape: _Drawn) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(shape.alpha > 127)
    x, y = shape.columns.start, shape.rows.start
    return x + int(columns.min()), y + int(rows.min()), x + int(columns.max()) + 1, y + int(rows.max()) + 1
