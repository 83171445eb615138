"""Pictures of detections, drawn with Pillow alone."""

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

MARGIN = 12  # pixels, of a contact sheet
PAGE, INK = (255, 255, 255), (32, 32, 32)
_GOLDEN_RATIO = 0.618033988749895  # steps of it around the hue circle keep any number of classes apart
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def class_colour(label: int) -> Colour:
    """Return a class's colour.

    Args:
        label: 0..K-1.
    """
    red, green, blue = colorsys.hsv_to_rgb((label * _GOLDEN_RATIO) % 1, (0.9, 0.7)[label % 2], (0.95, 1.0)[label % 2])
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    classes: Sequence[str],
    scores: Sequence[float] | np.ndarray | None = None,
) -> np.ndarray:
    """Draw boxes with their class names on a copy of the image; the surest ones last, so on top.

    Args:
        image: (height, width, 3) uint8 RGB.
        boxes: (N, 4) xyxy, image pixels; parts beyond the image are not seen.
        labels: (N,) integers in 0..K-1.
        classes: K names.
        scores: (N,) in [0, 1], written behind the name as a percentage.

    Returns:
        (height, width, 3) uint8.

    Raises:
        ValueError: an argument of another shape, a label without a name, or a box that is not finite.
    """
    check_image(image)
    boxes, labels = np.asarray(boxes, np.float64), np.asarray(labels)
    if boxes.shape != (len(labels), 4) or not np.isfinite(boxes).all():
        raise ValueError(f"Expected `boxes` to be ({len(labels)}, 4), finite, one for each label, but got {boxes}")
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
        raise ValueError(f"Expected `labels` to be in 0..{len(classes) - 1}, but got {labels}")
    if scores is not None and len(scores) != len(labels):
        raise ValueError(f"Expected `scores` to be {len(labels)} numbers, one for each box, but got {len(scores)}")
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    side = min(picture.size)
    font, thickness = load_font(max(11, side // 28)), max(1, round(side / 130))
    limit = np.array([picture.width, picture.height] * 2)
    order = range(len(labels)) if scores is None else np.argsort(np.asarray(scores), kind="stable").tolist()
    for i in order:
        x0, y0, x1, y1 = np.rint(boxes[i]).clip(0, limit).astype(int).tolist()
        colour = class_colour(int(labels[i]))
        pen.rectangle((x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)), outline=colour, width=thickness)
        text = classes[int(labels[i])] if scores is None else f"{classes[int(labels[i])]} {scores[i]:.0%}"
        _label(pen, picture.size, (x0, y0), text, colour, font)
    return np.array(picture)


def _label(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], corner: tuple[int, int], text: str, colour: Colour, font: _Font
) -> None:
    """Write on a coloured ground above the corner, or below it where there is no room above."""
    left, top, right, bottom = (round(edge) for edge in pen.textbbox((0, 0), text, font=font))
    width, height = right - left + 4, bottom - top + 4
    x = max(0, min(corner[0], size[0] - width))
    y = corner[1] - height if corner[1] >= height else corner[1]
    pen.rectangle((x, y, x + width - 1, y + height - 1), fill=colour)
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]  # ITU-R BT.601
    pen.text((x + 2 - left, y + 2 - top), text, fill="black" if luma > 140 else "white", font=font)


def load_font(size: int) -> _Font:
    """Pillow's own font.

    Args:
        size: height in pixels.
    """
    return ImageFont.load_default(size)


def check_image(image: np.ndarray) -> None:
    """Raise ValueError unless `image` is a (height, width, 3) uint8 array with pixels."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f"Expected `image` to be a (height, width, 3) uint8 RGB array, but got {image.dtype} {image.shape}"
        )


def contact_sheet(
    rows: Sequence[tuple[np.ndarray, np.ndarray]],
    titles: tuple[str, str] = ("ground truth", "detections"),
    columns: int = 2,
    width: int = 320,
) -> np.ndarray:
    """Set pairs of pictures side by side on one page.

    Args:
        rows: pairs of (height, width, 3) uint8 RGB pictures, of any sizes; at least one.
        titles: over the first and over the second pictures.
        columns: pairs in one line, at least 1.
        width: of every picture on the page, in pixels, at least 32; its height keeps the aspect ratio.

    Returns:
        (height, width, 3) uint8.

    Raises:
        ValueError: no pictures, one of another shape, or a number out of its range.
    """
    if not rows or columns < 1 or width < 32:
        raise ValueError(
            f"Expected at least one row, one of `columns` and a `width` of 32, but got {len(rows)}, {columns}, {width}"
        )
    pictures = [tuple(_scaled(image, width) for image in pair) for pair in rows]
    columns = min(columns, len(rows))
    lines = [pictures[i : i + columns] for i in range(0, len(pictures), columns)]
    heights = [max(picture.height for pair in line for picture in pair) for line in lines]
    font = load_font(max(14, width // 18))
    header = MARGIN + max(14, width // 18) + MARGIN
    pair_width = 2 * width + MARGIN // 2 + 2 * MARGIN
    page = Image.new("RGB", (columns * pair_width, header + sum(heights) + MARGIN * len(heights)), PAGE)
    pen = ImageDraw.Draw(page)
    lefts = [(c * pair_width + MARGIN, c * pair_width + MARGIN + width + MARGIN // 2) for c in range(columns)]
    for pair_lefts in lefts:
        for left, title in zip(pair_lefts, titles):
            pen.text((left + width / 2, header / 2), title, fill=INK, font=font, anchor="mm")
    top = header
    for line, height in zip(lines, heights):
        for pair, pair_lefts in zip(line, lefts):
            for picture, left in zip(pair, pair_lefts):
                page.paste(picture, (left, top))
        top += height + MARGIN
    return np.array(page)


def _scaled(image: np.ndarray, width: int) -> Image.Image:
    check_image(image)
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return Image.fromarray(image).resize((width, min(height, 4 * width)), Image.Resampling.BICUBIC)
