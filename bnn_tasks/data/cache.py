"""Decoded images in memory, so that an epoch decodes nothing."""

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from bnn_tasks.runtime.images import ImageError, Size, read_image

log = logging.getLogger(__name__)


class Sized(Protocol):
    """A file of pixels whose size is known before it is decoded; a detection ``Record`` is one."""

    @property
    def path(self) -> Path:
        """Of the file."""

    @property
    def height(self) -> int:
        """In pixels."""

    @property
    def width(self) -> int:
        """In pixels."""


class PixelCache:
    """The pixels of some files, decoded once, in the process that builds it, into one tensor.

    Worker processes share that memory: forked ones (Linux) since nobody writes to it again, spawned ones since torch hands
    a tensor on as shared memory. Under distributed training each process has a cache of its own.

    Args:
        records: whose files are kept, each once. One that cannot be read, or has another size than its record, is
            left out, and so met again by whoever reads it.
        limit: most bytes to take, >= 0.
        read: path -> (height, width, *trailing) uint8; it raises ``ImageError``.
        trailing: axes after height and width: (3,) of RGB, () of masks.

    Attributes:
        size: bytes taken.

    Raises:
        ValueError: the files need more.
    """

    def __init__(
        self, records: Sequence[Sized], limit: int, read: Callable[[Path], np.ndarray], trailing: tuple[int, ...]
    ) -> None:
        records = list({record.path: record for record in records}.values())
        self._read = read
        self._trailing = trailing
        self.size = decoded_bytes(records, trailing)
        if self.size > limit:
            raise ValueError(
                f"Expected a cache of at most {limit / 2**30:.2f} more GiB (`cache_limit`), but {len(records)} decoded images "
                f"need {self.size:,} bytes ({self.size / 2**30:.2f} GiB). Cure: cache: false, or a larger cache_limit where "
                "the memory is there"
            )
        log.info("decoding %d images into memory (%s bytes)", len(records), f"{self.size:,}")
        self._pixels = torch.empty(self.size, dtype=torch.uint8)
        self._places: dict[Path, tuple[int, Size]] = {}
        self._paths = {record.path for record in records}
        start = 0
        for record in records:
            size = (record.height, record.width)
            try:
                image = read(record.path)
            except ImageError:
                continue
            if image.shape[:2] == size:
                self._pixels[start : start + image.size] = torch.from_numpy(image).reshape(-1)
                self._places[record.path] = (start, size)
                start += image.size

    def covers(self, records: Sequence[Sized]) -> bool:
        """Tell whether all these records' images have been asked for.

        Args:
            records: of the same set.
        """
        return all(record.path in self._paths for record in records)

    def read(self, path: Path) -> np.ndarray:
        """Return one image, as ``read`` does; not to be written to.

        Args:
            path: of the image.

        Raises:
            ImageError: it could not be read, and still cannot.
        """
        if path not in self._places:
            return self._read(path)
        start, size = self._places[path]
        shape = (*size, *self._trailing)
        image = self._pixels[start : start + math.prod(shape)].numpy().reshape(shape)
        image.flags.writeable = False
        return image


class ImageCache(PixelCache):
    """The images of some records as ``read_image`` gives them.

    Args:
        records: see ``PixelCache``.
        limit: see ``PixelCache``.
    """

    def __init__(self, records: Sequence[Sized], limit: int) -> None:
        super().__init__(records, limit, read_image, (3,))


def decoded_bytes(records: Sequence[Sized], trailing: tuple[int, ...] = (3,)) -> int:
    """Return the bytes that the images of records take as uint8, each file once.

    Args:
        records: whose ``height`` and ``width`` count.
        trailing: axes after height and width: (3,) of RGB, () of masks.
    """
    return math.prod(trailing) * sum({record.path: record.height * record.width for record in records}.values())
