"""Decoded images in memory, so that an epoch decodes nothing."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bnn_tasks.data.dataset import Record
from bnn_tasks.runtime.images import ImageError, Size, read_image

log = logging.getLogger(__name__)


class ImageCache:
    """The images of some records, decoded once, in the process that builds it, into one tensor.

    Worker processes share that memory: forked ones (Linux) since nobody writes to it again, spawned ones since torch hands
    a tensor on as shared memory. Under distributed training each process has a cache of its own.

    Args:
        records: whose images are kept, each file once. One that cannot be read, or has another size than its record, is
            left out, and so met again by whoever reads it.
        limit: most bytes to take, >= 0.

    Attributes:
        size: bytes taken.

    Raises:
        ValueError: the images need more.
    """

    def __init__(self, records: Sequence[Record], limit: int) -> None:
        records = list({record.path: record for record in records}.values())
        self.size = decoded_bytes(records)
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
                image = read_image(record.path)
            except ImageError:
                continue
            if image.shape[:2] == size:
                self._pixels[start : start + image.size] = torch.from_numpy(image).reshape(-1)
                self._places[record.path] = (start, size)
                start += image.size

    def covers(self, records: Sequence[Record]) -> bool:
        """Tell whether all these records' images have been asked for.

        Args:
            records: of the same set.
        """
        return all(record.path in self._paths for record in records)

    def read(self, path: Path) -> np.ndarray:
        """Return one image, as ``read_image`` does; not to be written to.

        Args:
            path: of the image.

        Raises:
            ImageError: it could not be read, and still cannot.
        """
        if path not in self._places:
            return read_image(path)
        start, (height, width) = self._places[path]
        image = self._pixels[start : start + 3 * height * width].numpy().reshape(height, width, 3)
        image.flags.writeable = False
        return image


def decoded_bytes(records: Sequence[Record]) -> int:
    """Return the bytes that the images of records take as uint8 RGB, each file once.

    Args:
        records: whose ``height`` and ``width`` count.
    """
    return 3 * sum({record.path: record.height * record.width for record in records}.values())
