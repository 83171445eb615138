"""Pictures and their masks as a torch data set."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from bnn_tasks.data.findings import DataError
from bnn_tasks.data.replacement import FirstReadable
from bnn_tasks.data.segmentation.augment import SegmentationAugment
from bnn_tasks.data.segmentation.batch import SegmentationSample, SegmentationTarget
from bnn_tasks.data.segmentation.canvas import draw_mask
from bnn_tasks.data.segmentation.faults import size_fault
from bnn_tasks.runtime.images import Resize, Size, read_image, to_channels


class SegmentationRecord(NamedTuple):
    """One picture and its mask.

    Attributes:
        path: of the picture.
        mask: what ``MaskCoding.read`` takes.
        height: of the picture as ``read_image`` gives it.
        width: of the picture as ``read_image`` gives it.
        name: of the picture, below the folder of the pictures; no other of the split has it.
    """

    path: Path
    mask: Path
    height: int
    width: int
    name: str


class MaskFile(NamedTuple):
    """A mask, for ``PixelCache``.

    Attributes:
        path: what ``MaskCoding.read`` takes.
        height: of the picture.
        width: of the picture.
    """

    path: Path
    height: int
    width: int


class SegmentationDataset(Dataset[SegmentationSample]):
    """Reads pictures and masks and fits them to a canvas.

    Args:
        records: the pictures; at least one.
        resize: how a picture becomes a canvas.
        read_mask: mask path -> (height, width) uint8 labels; it raises ``ImageError`` or ``DataError``.
        augment: draws the canvas another way each time; None shows the picture as it is.
        replace_damaged: the next readable picture takes the place of one that cannot be read, or whose mask cannot, and whose
            name goes with the sample. False makes it an error: a score must be over all pictures.
        channels: of the canvas; 3 is RGB, 1 its luma.
        read: picture path -> (height, width, 3) uint8 RGB; it raises ``ImageError``.
    """

    def __init__(
        self,
        records: Sequence[SegmentationRecord],
        resize: Resize,
        read_mask: Callable[[Path], np.ndarray],
        augment: SegmentationAugment | None = None,
        replace_damaged: bool = False,
        channels: int = 3,
        read: Callable[[Path], np.ndarray] = read_image,
    ) -> None:
        self.records = list(records)
        self.resize = resize
        self.read_mask = read_mask
        self.augment = augment
        self.channels = channels
        self.read = read
        self.sizes: list[Size] = [resize.bucket(record.height, record.width) for record in self.records]
        self._first_readable = FirstReadable(len(self.records), self._name, replace_damaged)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> SegmentationSample:
        """Return one sample, on the canvas size that belongs to ``index``.

        Args:
            index: 0..len-1.

        Raises:
            ImageError: the picture or its mask cannot be read and may not be replaced, or none can be read.
            DataError: picture and mask differ in size, or the mask is no mask of this set.
        """
        damaged: list[str] = []
        place, (image, mask) = self._first_readable(index, self._load, damaged)
        size = self.sizes[index]
        if self.augment is None:
            canvas, placement = self.resize.fit(image, size=size)
            drawn = draw_mask(mask, placement, size)
        else:
            canvas, drawn, placement = self.augment(image, mask, self.resize, size)
        target = SegmentationTarget(torch.tensor(mask), self._name(place), placement)
        return SegmentationSample(to_channels(canvas, self.channels), drawn, target, damaged)

    def _load(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        record = self.records[place]
        image, mask = self.read(record.path), self.read_mask(record.mask)
        if fault := size_fault(record.path, image.shape[:2], record.mask, mask.shape):
            raise DataError(fault)
        return image, mask

    def _name(self, place: int) -> str:
        return self.records[place].name
