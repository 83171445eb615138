"""What may be wrong with a COCO segmentation; a detector does not read it, but a mask made of it would be wrong."""

import sys
from collections.abc import Iterable
from typing import Any

from bnn_tasks.runtime.images import Size

LEAST_COORDINATES = 6  # of a polygon: three points
LARGEST = sys.float_info.max


def all_finite(values: Iterable[Any]) -> bool:
    """Whether values of a JSON file are numbers that a float64 holds; JSON's integers have any size.

    Args:
        values: as the file says them.
    """
    return all(type(value) in (int, float) and -LARGEST <= value <= LARGEST for value in values)


def segmentation_fault(value: Any, size: Size) -> str | None:
    """Say what is wrong with an annotation's ``segmentation``; None where nothing is.

    It is a list of polygons, each [x0, y0, x1, y1, ...] of at least three points; or a run-length encoding, a dictionary
    of ``size`` [height, width] and ``counts``: runs of 0 and 1 in turn, column by column, as a list or as COCO's text.
    A point may lie outside the image, but no further than the image's longer side is long.

    Args:
        value: what the file says.
        size: (height, width) of the image.
    """
    if isinstance(value, dict):
        return _rle_fault(value, size)
    if not isinstance(value, list) or not value:
        return f"expected `segmentation` to be a list of polygons or an RLE, but got {_short(value)}"
    for position, polygon in enumerate(value):
        if not isinstance(polygon, list) or len(polygon) < LEAST_COORDINATES or len(polygon) % 2:
            return (
                f"expected polygon {position} of `segmentation` to be at least three points [x0, y0, x1, y1, ...], but got "
                f"{_short(polygon)}"
            )
        if not all_finite(polygon):
            return f"expected polygon {position} of `segmentation` to be of finite numbers, but got {_short(polygon)}"
        if _is_far(polygon, size):  # pycocotools takes memory for each pixel of an edge; without it the process dies
            return (
                f"expected polygon {position} of `segmentation` to lie on the image of {size[1]}x{size[0]} pixels, but got "
                f"x in [{min(polygon[::2]):g}, {max(polygon[::2]):g}] and y in [{min(polygon[1::2]):g}, {max(polygon[1::2]):g}]"
            )
    return None


def _is_far(polygon: list[float], size: Size) -> bool:
    """Whether a point is further from the image than the image's longer side is long."""
    reach = max(size)
    return any(
        min(axis) < -reach or max(axis) > side + reach for axis, side in zip((polygon[1::2], polygon[::2]), size)
    )


def _rle_fault(value: dict[str, Any], size: Size) -> str | None:
    if value.get("size") != list(size):
        return (
            f"expected the RLE's `size` to be the image's [height, width] = {list(size)}, but got {value.get('size')!r}"
        )
    counts = value.get("counts")
    runs = _runs(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        return f"expected the RLE's `counts` to be run lengths, or their text, but got {_short(counts)}"
    if sum(runs) != size[0] * size[1]:
        return (
            f"expected the RLE's runs to sum to {size[0]}x{size[1]} = {size[0] * size[1]} pixels, but got {sum(runs)}"
        )
    return None


def _runs(text: str) -> list[int] | None:
    """Decode COCO's text: base 32, least digit first, each from the third on as a difference to the last but one."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64:
            return None
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return None if shift else runs


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
