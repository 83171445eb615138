"""Masks of classes as colours: the colour map, a mask over its picture, a legend; Pillow and numpy alone."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from bnn_tasks.runtime.draw import INK, MARGIN, PAGE, check_image, load_font

VOID = 255  # of masks: pixels that belong to no class
BAND = 256  # rows that are mixed at a time
SWATCH = 16  # pixels, side of a legend's square


def voc_palette() -> np.ndarray:
    """The colour map of PASCAL VOC's masks (VOCdevkit, VOClabelcolormap): the index's bits, dealt out to the three channels.

    Bit 3i of the index is bit 7 - i of red, bit 3i + 1 that of green, bit 3i + 2 that of blue.

    Returns:
        (256, 3) uint8; row k is the RGB colour of class k, row 255 that of void, (224, 224, 192).
    """
    index, palette = np.arange(256), np.zeros((256, 3), np.int64)
    for channel in range(3):
        for i in range(3):
            palette[:, channel] |= (index >> (3 * i + channel) & 1) << (7 - i)
    return palette.astype(np.uint8)


def overlay(image: np.ndarray, class_map: np.ndarray, alpha: float = 0.6) -> np.ndarray:
    """Lay the colours of a mask over its picture: (1 - alpha) · picture + alpha · colour; nothing shows through void.

    Void has VOC's own colour, (224, 224, 192): black is that of class 0.

    Args:
        image: (h, w, 3) uint8 RGB.
        class_map: (h, w) uint8; classes 0 … 254, and 255 for void.
        alpha: share of the colour, in [0, 1].

    Returns:
        (h, w, 3) uint8.

    Raises:
        ValueError: an argument of another shape or dtype, or out of range.
    """
    check_image(image)
    if class_map.dtype != np.uint8 or class_map.shape != image.shape[:2]:
        raise ValueError(
            f"Expected `class_map` to be uint8 {image.shape[:2]}, as its picture, but got {class_map.dtype} {class_map.shape}"
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"Expected `alpha` to be in [0, 1], but got {alpha}")
    palette, mixed = voc_palette(), np.empty_like(image)
    for start in range(
        0, len(image), BAND
    ):  # in bands, since floats of a whole large picture would take 16 times its bytes
        rows = slice(start, start + BAND)
        mixed[rows] = np.rint((1 - alpha) * image[rows] + alpha * palette[class_map[rows]])
    mixed[class_map == VOID] = palette[VOID]
    return mixed


def legend(classes: Sequence[str], width: int) -> np.ndarray:
    """Squares in the classes' colours, each with its name; as many in a line as there is room for.

    Args:
        classes: K names, 1 <= K <= 255; class k has row k of `voc_palette`.
        width: of the legend in pixels, >= 32.

    Returns:
        (height, width, 3) uint8.

    Raises:
        ValueError: too few or too many names, or `width` is too small.
    """
    _check_legend(classes, width)
    return _squares(list(enumerate(classes)), width)


def legend_with_void(classes: Sequence[str], width: int) -> np.ndarray:
    """As `legend`, and behind the classes void, for masks of a ground truth.

    Args:
        classes: K names, 1 <= K <= 255.
        width: of the legend in pixels, >= 32.

    Returns:
        (height, width, 3) uint8.

    Raises:
        ValueError: as `legend`.
    """
    _check_legend(classes, width)
    return _squares([*enumerate(classes), (VOID, "void")], width)


def _check_legend(classes: Sequence[str], width: int) -> None:
    if not 1 <= len(classes) <= VOID or width < 32:
        raise ValueError(f"Expected 1 to {VOID} names and a `width` of 32, but got {len(classes)} and {width}")


def _squares(names: Sequence[tuple[int, str]], width: int) -> np.ndarray:
    """A square in the colour of each index, with its name."""
    font, palette = load_font(SWATCH), voc_palette()
    places, x, y, line = [], MARGIN, MARGIN // 2, SWATCH + MARGIN // 2
    for _, name in names:
        room = SWATCH + MARGIN // 2 + round(font.getlength(name)) + MARGIN
        if x > MARGIN and x + room > width:
            x, y = MARGIN, y + line
        places.append((x, y))
        x += room
    page = Image.new("RGB", (width, y + line), PAGE)
    pen = ImageDraw.Draw(page)
    for (index, name), (left, top) in zip(names, places):
        colour = tuple(palette[index].tolist())
        pen.rectangle((left, top, left + SWATCH - 1, top + SWATCH - 1), fill=colour, outline=INK)
        pen.text((left + SWATCH + MARGIN // 2, top + SWATCH / 2), name, fill=INK, font=font, anchor="lm")
    return np.array(page)
