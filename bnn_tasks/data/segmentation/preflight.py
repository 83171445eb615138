"""What is looked at before an epoch is spent: sizes by the files' headers, and what the masks' pixels are."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bnn_tasks.data.findings import DataError
from bnn_tasks.data.segmentation.batch import VOID
from bnn_tasks.data.segmentation.coding import MaskCoding
from bnn_tasks.data.segmentation.dataset import SegmentationRecord
from bnn_tasks.data.segmentation.faults import size_fault, void_fault
from bnn_tasks.runtime.images import ImageError, image_size

MOST_READ = 200  # masks in which a class is looked for: seconds, for large ones


def check_headers(records: Sequence[SegmentationRecord], coding: MaskCoding, replace_damaged: bool) -> None:
    """Raise where a picture and its mask differ in size; no pixel is decoded.

    Args:
        records: of a split.
        coding: of their masks.
        replace_damaged: whether files without a readable header are left to the loader, which replaces them.

    Raises:
        DataError: the first two that differ.
        ImageError: the first header that cannot be read and may not be replaced.
    """
    for record in records:
        try:
            fault = size_fault(record.path, image_size(record.path), record.mask, coding.size(record.mask))
        except ImageError:
            if not replace_damaged:
                raise
            continue
        if fault:
            raise DataError(f"{fault}. `bnn-tasks check-data` lists all of them")


def check_counted(root: Path, split: str, records: Sequence[SegmentationRecord], coding: MaskCoding) -> None:
    """Raise where every pixel of a split is void; masks are decoded up to the first that has a class, mostly one.

    Args:
        root: of the set, for the message.
        split: its name, for the message.
        records: of the split; masks that cannot be read are left to the loader.
        coding: of their masks.

    Raises:
        DataError: no pixel counts, or a mask that was met is no mask of this set.
    """
    readable = 0
    for record in records:
        try:
            mask = coding.read(record.mask)
        except ImageError:
            continue
        if (mask != VOID).any():
            return
        readable += 1
    if readable:
        raise DataError(void_fault(root, split, readable))


def unmet_classes(records: Sequence[SegmentationRecord], coding: MaskCoding, num_classes: int) -> list[int]:
    """Labels that no mask has; none where that takes more than `MOST_READ` masks to say.

    Args:
        records: of a split; masks that cannot be read are left to the loader.
        coding: of their masks.
        num_classes: K.
    """
    unmet = set(range(num_classes))
    for place, record in enumerate(records):
        if not unmet or place == MOST_READ:
            return []
        try:
            unmet.difference_update(np.bincount(coding.read(record.mask).ravel()).nonzero()[0].tolist())
        except (ImageError, DataError):
            return []
    return sorted(unmet)
