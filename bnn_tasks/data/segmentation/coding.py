"""What the numbers and colours of mask files mean: a label in 0..K-1, or void."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from bnn_tasks.data.findings import DataError
from bnn_tasks.data.segmentation.batch import VOID
from bnn_tasks.data.segmentation.masks import mask_size, read_colours, read_indices
from bnn_tasks.runtime.images import Size

LARGEST = 2**31 - 1  # of a mask of 32-bit numbers
MOST_CLASSES = 255  # labels 0..254, since 255 is void
NAMED_VALUES = 10
INDEX_CURE = "correct the mask, list the missing classes, or say that these values are void"
COLOUR_CURE = (
    "correct the mask, or add these to `colours` (void where the name is not in `classes`); where the pixels are label "
    "numbers, leave `colours` out and give `classes`"
)

Colour = tuple[int, int, int]


class MaskCoding(ABC):
    """Reads masks as labels."""

    @abstractmethod
    def read(self, path: Path) -> np.ndarray:
        """Read one mask.

        Args:
            path: of the mask.

        Returns:
            (height, width) uint8; 0..K-1 are classes, 255 is void.

        Raises:
            ImageError: the file cannot be read.
            DataError: it is no mask of this coding, or has values without a meaning: each is named with its pixel count.
        """

    def size(self, path: Path) -> Size:
        """Return a mask's (height, width) without decoding it.

        Args:
            path: of the mask.

        Raises:
            ImageError: the file's header cannot be read.
        """
        return mask_size(path)


class IndexCoding(MaskCoding):
    """Masks of numbers.

    Args:
        labels: label of each number that may occur: 0..254, or 255 for void.
    """

    def __init__(self, labels: Mapping[int, int]) -> None:
        self.labels = dict(labels)

    @classmethod
    def of(cls, values: Sequence[int], void: Sequence[int]) -> "IndexCoding":
        """List numbers in label order.

        Args:
            values: the number of each class, in label order.
            void: numbers that are void.

        Raises:
            ValueError: a number twice, or one that no mask can hold.
        """
        numbers = [*values, *void]
        if len(set(numbers)) < len(numbers) or not all(0 <= n <= LARGEST for n in numbers):
            raise ValueError(
                f"Expected mask values to be in 0..{LARGEST} and each to have one meaning, but got {list(values)} for the "
                f"classes and {list(void)} for void. Cure: leave the values of classes out of `void`"
            )
        return cls({value: label for label, value in enumerate(values)} | dict.fromkeys(void, VOID))

    def read(self, path: Path) -> np.ndarray:
        """Read one mask; see ``MaskCoding``."""
        return relabel(read_indices(path), self.labels, path, INDEX_CURE)


class ColourCoding(MaskCoding):
    """RGB-coded masks.

    Args:
        labels: label of each (red, green, blue), 0..255 each, that may occur: 0..254, or 255 for void.
    """

    def __init__(self, labels: Mapping[Colour, int]) -> None:
        colours = np.array(list(labels), np.uint8).reshape(-1, 3)
        self.labels = dict(zip(pack(colours).tolist(), labels.values(), strict=True))

    def read(self, path: Path) -> np.ndarray:
        """Read one mask; see ``MaskCoding``."""
        return relabel(pack(read_colours(path)), self.labels, path, COLOUR_CURE, _colour)


def pack(colours: np.ndarray) -> np.ndarray:
    """Join colours to numbers, R + 256 G + 65536 B, which is how COCO's panoptic masks store segment ids.

    Args:
        colours: (..., 3) uint8.

    Returns:
        (...) int32.
    """
    red, green, blue = np.moveaxis(colours.astype(np.int32), -1, 0)
    return np.asarray(red + (green << 8) + (blue << 16))


def relabel(
    values: np.ndarray, labels: Mapping[int, int], path: Path, cure: str, name: Callable[[int], str] = str
) -> np.ndarray:
    """Replace each value by its label.

    Args:
        values: (height, width) integers.
        labels: label of each value that may occur, 0..255; at least one.
        path: of the mask, for messages.
        cure: of values that may not occur, for messages.
        name: says a value.

    Returns:
        (height, width) uint8.

    Raises:
        DataError: values that may not occur; each is named with its pixel count.
    """
    known = np.array(sorted(labels), np.int64)
    meant = np.array([labels[value] for value in known.tolist()], np.uint8)
    if values.dtype == np.uint8:  # 256 look-ups instead of one a pixel
        every = np.arange(256)
        place = np.searchsorted(known, every).clip(0, len(known) - 1)
        legal, found = (known[place] == every)[values], meant[place][values]
    else:
        place = np.searchsorted(known, values).clip(0, len(known) - 1)
        legal, found = known[place] == values, meant[place]
    if not legal.all():
        raise DataError(_unknown(values[~legal], known.tolist(), path, cure, name))
    return np.asarray(found)


def _unknown(values: np.ndarray, known: Sequence[int], path: Path, cure: str, name: Callable[[int], str]) -> str:
    numbers, counts = np.unique(values, return_counts=True)
    named = [f"{name(number)} ({count:,} pixel{'s' if count > 1 else ''})" for number, count in zip(numbers, counts)]
    more = f" and {len(named) - NAMED_VALUES} more" if len(named) > NAMED_VALUES else ""
    return (
        f"{path}: mask values that are neither a class nor void: {', '.join(named[:NAMED_VALUES])}{more}; there are "
        f"{_runs(known) if name is str else ', '.join(map(name, known[:NAMED_VALUES]))}. Cure: {cure}"
    )


def _runs(numbers: Sequence[int]) -> str:
    """ "0..10, 255" for these twelve numbers in order."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("..".join(map(str, run)) for run in runs)


def _colour(number: int) -> str:
    return str([int(number) & 255, int(number) >> 8 & 255, int(number) >> 16])
