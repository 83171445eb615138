"""Labelled pictures as torch data sets that give whole batches: read anew each time, or kept in memory."""

import logging
from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from bnn_tasks.data.classification.augment import BatchAugment, PictureAugment
from bnn_tasks.data.classification.batch import ClassificationBatch, to_batch
from bnn_tasks.data.classification.pictures import Pictures
from bnn_tasks.data.replacement import FirstReadable
from bnn_tasks.runtime.images import Resize

log = logging.getLogger(__name__)

MAX_CACHE = 8 * 2**30  # bytes


class _Shown(NamedTuple):
    image: np.ndarray
    place: int  # of the picture that is shown
    damaged: list[str]  # names of those before it that could not be read


class ClassificationDataset(Dataset[ClassificationBatch], ABC):
    """Pictures of one split; a ``DataLoader`` asks it for a batch at a time.

    Args:
        pictures: at least one.
        resize: how a picture becomes a canvas; its first size is used.
        replace_damaged: the next readable picture takes the place of an unreadable one, with its own label. False
            makes it an error: a score must be over all pictures.
    """

    def __init__(self, pictures: Pictures, resize: Resize, replace_damaged: bool) -> None:
        self.pictures = pictures
        self.resize = resize
        self.size = resize.sizes[0]
        self._first_readable = FirstReadable(len(pictures), self._name, replace_damaged)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> ClassificationBatch:
        """Return a batch of one.

        Args:
            index: 0..len-1.
        """
        return self.__getitems__([index])

    @abstractmethod
    def __getitems__(self, indices: list[int]) -> ClassificationBatch:
        """Return a batch; the name is the one that torch's loader looks for.

        Args:
            indices: of the pictures, each 0..len-1.

        Raises:
            ImageError: a picture cannot be read and may not be replaced, or none can be read.
        """

    def _read(self, index: int) -> _Shown:
        damaged: list[str] = []
        place, image = self._first_readable(index, self.pictures.read, damaged)
        return _Shown(image, place, damaged)

    def _name(self, place: int) -> str:
        return self.pictures.samples[place].name


class FileDataset(ClassificationDataset):
    """Decodes each picture every time it is asked for.

    Args:
        pictures: see ``ClassificationDataset``.
        resize: see ``ClassificationDataset``.
        augment: varies pictures or batches; None shows them as they are.
        replace_damaged: see ``ClassificationDataset``.
    """

    def __init__(
        self,
        pictures: Pictures,
        resize: Resize,
        augment: PictureAugment | BatchAugment | None = None,
        replace_damaged: bool = False,
    ) -> None:
        super().__init__(pictures, resize, replace_damaged)
        self.augment = augment

    def __getitems__(self, indices: list[int]) -> ClassificationBatch:
        """Read, fit and vary a batch.

        Args:
            indices: of the pictures, each 0..len-1.
        """
        shown = [self._read(index) for index in indices]
        canvases = np.stack([self._canvas(picture.image) for picture in shown])
        if isinstance(self.augment, BatchAugment):
            canvases = self.augment(canvases)
        samples = [self.pictures.samples[picture.place] for picture in shown]
        damaged = [name for picture in shown for name in picture.damaged]
        return to_batch(canvases, [sample.label for sample in samples], [sample.name for sample in samples], damaged)

    def _canvas(self, image: np.ndarray) -> np.ndarray:
        if isinstance(self.augment, PictureAugment):
            return self.augment(image, self.resize, self.size)
        return self.resize.fit(image)[0]


class CachedDataset(ClassificationDataset):
    """Decodes and fits every picture once, into one array; a batch is then an index into it.

    Args:
        pictures: see ``ClassificationDataset``.
        resize: see ``ClassificationDataset``.
        augment: varies batches; None shows them as they are.
        replace_damaged: see ``ClassificationDataset``.

    Raises:
        ValueError: the array would take more than ``MAX_CACHE`` bytes.
        ImageError: a picture cannot be read and may not be replaced, or none can be read.
    """

    def __init__(
        self, pictures: Pictures, resize: Resize, augment: BatchAugment | None = None, replace_damaged: bool = False
    ) -> None:
        super().__init__(pictures, resize, replace_damaged)
        self.augment = augment
        count, (height, width) = len(pictures), self.size
        if (total := count * height * width * 3) > MAX_CACHE:
            raise ValueError(
                f"Expected a cache of at most {MAX_CACHE / 2**30:g} GiB, but {count} pictures of {height}x{width} take "
                f"{total / 2**30:.1f} GiB; set `cache` to false, or choose a smaller `size`"
            )
        log.info("reading %d pictures into memory (%.0f MiB)", count, total / 2**20)
        self.canvases = np.empty((count, height, width, 3), np.uint8)
        self.shown = np.arange(count)
        self.damaged: dict[int, list[str]] = {}
        for index in range(count):
            picture = self._read(index)
            self.canvases[index] = resize.fit(picture.image)[0]
            self.shown[index] = picture.place
            if picture.damaged:
                self.damaged[index] = picture.damaged
        self.labels = np.array([sample.label for sample in pictures.samples], np.int64)[self.shown]

    def __getitems__(self, indices: list[int]) -> ClassificationBatch:
        """Pick and vary a batch.

        Args:
            indices: of the pictures, each 0..len-1.
        """
        canvases = self.canvases[indices]
        if self.augment is not None:
            canvases = self.augment(canvases)
        names = [self.pictures.samples[index].name for index in self.shown[indices]]
        damaged = [name for index in indices for name in self.damaged.get(index, ())]
        return to_batch(canvases, self.labels[indices], names, damaged)
