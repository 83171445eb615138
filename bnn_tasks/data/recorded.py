"""What detection and segmentation sets share: records listed once, batches of one canvas size, decoded pictures kept."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from torch.utils.data import DataLoader, RandomSampler

from bnn_tasks.data.buckets import BucketBatchSampler
from bnn_tasks.data.cache import ImageCache, PixelCache, Sized
from bnn_tasks.data.corrupted import Corrupted, CorruptedReader
from bnn_tasks.data.findings import DataError, Findings, StrictFindings, empty_fault
from bnn_tasks.data.module import ImageData, Samples, check_split
from bnn_tasks.runtime.images import Size, read_image

Reader = Callable[[Path], np.ndarray]
RecordT = TypeVar("RecordT", bound=Sized)


class CanvasDataset(Samples, Protocol):
    """A data set whose samples each have a canvas size.

    Attributes:
        sizes: (height, width) of each sample's canvas.
    """

    sizes: list[Size]


class RecordedData(ImageData, Generic[RecordT]):
    """Sets that are a list of records, each of one picture and what it shows.

    Args:
        root: folder of the set.
        sizes: (height, width) of the net's inputs, each side 1..8192; with several, each picture goes to the one of
            the nearest aspect ratio, and a batch has one size.
        rule: ``"letterbox"`` or ``"stretch"``, see ``Resize``.
        batch_size: pictures in a batch, at least 1; an epoch's last batches may be smaller, or have one more, none is dropped.
        num_workers: processes that read pictures; 0 reads in the main process.
        channels: of the images in a batch: 3 is RGB; 1 is the luma.
        cache: decode train and val once and keep them in memory; test is read from files unless it is val.
        cache_limit: GiB that what is decoded may take, > 0.

    Raises:
        ValueError: a value out of its range.
    """

    _collate: Callable[[Sequence[Any]], Any]  # samples -> batch; a plain function, which goes to worker processes

    def __init__(
        self,
        root: str | Path,
        sizes: list[Size],
        rule: str,
        batch_size: int,
        num_workers: int,
        channels: int,
        cache: bool,
        cache_limit: float,
    ) -> None:
        super().__init__(root, sizes, rule, batch_size, num_workers)
        if channels not in (1, 3):
            raise ValueError(f"Expected `channels` to be 3 (RGB) or 1 (grey), but got {channels}")
        if not cache_limit > 0:
            raise ValueError(f"Expected `cache_limit` to be more than 0 GiB, but got {cache_limit}")
        self.channels = channels
        self.cache = cache
        self.cache_limit = int(cache_limit * 2**30)
        self._caches: dict[str, list[PixelCache]] = {}  # of pictures, and of whatever else a subclass keeps
        self._records: dict[str, list[RecordT]] = {}

    @abstractmethod
    def read(self, split: str, findings: Findings) -> list[RecordT]:
        """List a split; nothing is decoded.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            findings: takes what is wrong; reading goes on after an error where ``findings`` does.

        Returns:
            At least one record, unless an error was reported; in the order of the loaders.

        Raises:
            DataError: nothing of the split can be read.
        """

    @abstractmethod
    def _dataset(self, split: str, training: bool, read: Reader) -> CanvasDataset:
        """The samples of a split, from pictures that ``read`` reads; augmented, and damaged ones replaced, in training."""

    def records(self, split: str) -> list[RecordT]:
        """Return a split's records, read once.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.

        Raises:
            DataError: what is wrong with the set; the first of it.
        """
        check_split(split)
        if split not in self._records:
            findings = StrictFindings()
            records = self.read(split, findings)
            if not records:
                raise DataError(empty_fault(self.root, split))
            findings.log_warnings(split)
            self._records[split] = records
        return self._records[split]

    def train_dataloader(self) -> DataLoader[Any]:
        """Return shuffled, augmented training batches; damaged pictures are replaced and named in the batch."""
        dataset = self._dataset("train", True, self._reader("train"))
        batches = BucketBatchSampler(RandomSampler(dataset), self.batch_size, False, dataset.sizes)
        return self._loader(dataset, self._collate, batch_sampler=batches)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return every validation picture once, in order within a bucket."""
        return self._evaluation_loader("val", self._reader("val"))

    def test_dataloader(self) -> DataLoader[Any]:
        """Return every test picture once, in order within a bucket."""
        return self._evaluation_loader("test", self._reader("test"))

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return every test picture once, in order within a bucket."""
        return self.test_dataloader()

    def corrupted_loader(self, split: str, name: str, severity: int, seed: int = 0) -> DataLoader[Any]:
        """Return every picture of a split once, in order within a bucket, corrupted before it is resized.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            name: one of `CORRUPTIONS`.
            severity: 1 to 5.
            seed: >= 0.
        """
        return self._evaluation_loader(split, CorruptedReader(self._reader(split), Corrupted(name, severity, seed)))

    def _evaluation_loader(self, split: str, read: Reader) -> DataLoader[Any]:
        dataset = self._dataset(split, False, read)
        return self._ordered_loader(dataset, dataset.sizes, self._collate)

    def _reader(self, split: str) -> Reader:
        """What reads a split's pictures."""
        records = self.records(split)
        return self._kept("pictures", split, records, read_image, lambda limit: ImageCache(records, limit))

    def _kept(
        self, kind: str, split: str, files: Sequence[Sized], read: Reader, build: Callable[[int], PixelCache]
    ) -> Reader:
        """What reads one kind of a split's files: a cache that has them, ``read``, or a new cache of at most so many bytes."""
        caches = self._caches.setdefault(kind, [])
        for cache in caches:
            if cache.covers(files):
                return cache.read
        if not self.cache or split == "test":  # which is read once
            return read
        taken = sum(cache.size for kept in self._caches.values() for cache in kept)
        caches.append(build(self.cache_limit - taken))
        return caches[-1].read
