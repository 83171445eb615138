"""Pictures with a line of text below, and many of them on one page; Pillow alone."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from bnn_tasks.runtime.draw import INK, MARGIN, PAGE, Colour, check_image, load_font

SMALLEST = 192  # pixels; a smaller picture is enlarged, so that its text can be read


def captioned(image: np.ndarray, lines: Sequence[str], colour: Colour = INK) -> np.ndarray:
    """Set lines of text below a picture; the picture is not covered, and enlarged by a whole factor where it is small.

    Args:
        image: (height, width, 3) uint8 RGB.
        lines: at least one; one that is too long is shortened with an ellipsis.
        colour: of the text.

    Returns:
        (height', width', 3) uint8; width' is a multiple of width.

    Raises:
        ValueError: `image` is of another shape or dtype, or there are no lines.
    """
    check_image(image)
    if not lines:
        raise ValueError("Expected at least one line of text, but got none")
    factor = max(1, -(-SMALLEST // max(image.shape[:2])))
    picture = Image.fromarray(image.repeat(factor, axis=0).repeat(factor, axis=1))
    size = max(13, min(picture.size) // 28)
    step = size + size // 3
    page = Image.new("RGB", (picture.width, picture.height + step * len(lines) + size // 3), PAGE)
    page.paste(picture, (0, 0))
    pen, font = ImageDraw.Draw(page), load_font(size)
    for index, line in enumerate(lines):
        text = line
        while len(text) > 1 and pen.textlength(text, font=font) > page.width - 8:
            text = text.removesuffix("…")[:-1] + "…"
        pen.text((4, picture.height + size // 4 + step * index), text, fill=colour, font=font)
    return np.array(page)


def picture_grid(pictures: Sequence[np.ndarray], columns: int = 8, width: int = 192) -> np.ndarray:
    """Set pictures side by side on one page.

    Args:
        pictures: (height, width, 3) uint8 RGB each, of any sizes; at least one.
        columns: pictures in one line, at least 1.
        width: of every picture on the page, in pixels, at least 32; its height keeps the aspect ratio.

    Returns:
        (height, width, 3) uint8.

    Raises:
        ValueError: no pictures, one of another shape, or a number out of its range.
    """
    if not pictures or columns < 1 or width < 32:
        raise ValueError(
            f"Expected at least one picture, one of `columns` and a `width` of 32, but got {len(pictures)}, {columns}, {width}"
        )
    scaled = []
    for picture in pictures:
        check_image(picture)
        height = max(1, round(picture.shape[0] * width / picture.shape[1]))
        scaled.append(Image.fromarray(picture).resize((width, min(height, 4 * width)), Image.Resampling.BICUBIC))
    columns = min(columns, len(scaled))
    rows = [scaled[i : i + columns] for i in range(0, len(scaled), columns)]
    heights = [max(small.height for small in row) for row in rows]
    size = (MARGIN + columns * (width + MARGIN), MARGIN + sum(heights) + MARGIN * len(rows))
    page, top = Image.new("RGB", size, PAGE), MARGIN
    for row, height in zip(rows, heights):
        for column, small in enumerate(row):
            page.paste(small, (MARGIN + column * (width + MARGIN), top))
        top += height + MARGIN
    return np.array(page)
