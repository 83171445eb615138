"""The data module that every segmentation set shares: canvases, batches, caches; no file format."""

import logging
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, RandomSampler, Sampler, SequentialSampler

from bnn_tasks.data.buckets import BucketBatchSampler
from bnn_tasks.data.cache import ImageCache, PixelCache
from bnn_tasks.data.corrupted import Corrupted, CorruptedReader
from bnn_tasks.data.findings import DataError, Findings, StrictFindings
from bnn_tasks.data.module import SPLITS, STAGES, ImageData, check_split
from bnn_tasks.data.segmentation.augment import SegmentationAugment
from bnn_tasks.data.segmentation.batch import collate
from bnn_tasks.data.segmentation.check import SegmentationReport, check_segmentation
from bnn_tasks.data.segmentation.coding import MaskCoding
from bnn_tasks.data.segmentation.dataset import MaskFile, SegmentationDataset, SegmentationRecord
from bnn_tasks.data.segmentation.faults import empty_fault, one_class_fault
from bnn_tasks.data.segmentation.preflight import check_counted, check_headers
from bnn_tasks.runtime.images import read_image

log = logging.getLogger(__name__)


class SegmentationData(ImageData):
    """Segmentation sets for training and evaluation; predict reads the test split.

    A subclass lists the pictures and masks in ``read`` and says what the masks' values mean in ``coding``. Labels are 0..K-1;
    255 is void, which is neither learnt nor judged. One class (K = 1) is legal, but then a pixel is that class or void, and
    there is nothing to tell apart: a background that is to be told from one class is a class of its own, so K = 2.
    Shuffling and augmentation draw from torch's random numbers, so ``seed_everything`` makes an epoch repeatable for one
    number of workers. In a distributed run of Lightning each picture of an epoch goes to exactly one process, see
    ``BucketBatchSampler``; that needs the trainer's default ``use_distributed_sampler: true``.

    Args:
        root: folder of the set.
        sizes: (height, width) of the net's inputs, each side 1..8192; with several, each picture goes to the one of
            the nearest aspect ratio, and a batch has one size.
        rule: ``"letterbox"`` or ``"stretch"``, see ``Resize``.
        batch_size: pictures in a batch, at least 1; an epoch's last batches may be smaller, none is dropped.
        num_workers: processes that read pictures; 0 reads in the main process.
        train_augment: varies the training pictures and their masks; None shows them as they are.
        channels: of the images in a batch: 3 is RGB; 1 is the luma, and the net's first layer then takes one channel.
        splits: which of the set's own splits is which of "train", "val" and "test", as ``{"test": "val"}``; those left out
            have their own name. A "test" that the set lacks, and that is not named here, is val.
        cache: decode train and val pictures and masks once and keep them in memory, see ``ImageCache``; test is read from
            files unless it is val.
        cache_limit: GiB that the decoded pictures and masks may take, > 0; needing more is an error.

    Raises:
        ValueError: a value out of its range, or an unknown split.
    """

    def __init__(
        self,
        root: str | Path,
        sizes: list[tuple[int, int]],
        rule: str = "letterbox",
        batch_size: int = 8,
        num_workers: int = 0,
        train_augment: SegmentationAugment | None = None,
        channels: int = 3,
        splits: dict[str, str] | None = None,
        cache: bool = False,
        cache_limit: float = 4.0,
    ) -> None:
        super().__init__(root, sizes, rule, batch_size, num_workers)
        if channels not in (1, 3):
            raise ValueError(f"Expected `channels` to be 3 (RGB) or 1 (grey), but got {channels}")
        if not cache_limit > 0:
            raise ValueError(f"Expected `cache_limit` to be more than 0 GiB, but got {cache_limit}")
        if unknown := set(splits or {}) - set(SPLITS):
            raise ValueError(f"Expected `splits` to have keys of {SPLITS}, but got {sorted(unknown)}")
        self.train_augment = train_augment
        self.channels = channels
        self.splits = {split: split for split in SPLITS} | (splits or {})
        self.cache = cache
        self.cache_limit = int(cache_limit * 2**30)
        self._caches: list[tuple[ImageCache, PixelCache]] = []
        self._records: dict[str, list[SegmentationRecord]] = {}

    @abstractmethod
    def coding(self, split: str) -> MaskCoding:
        """Return what the values of a split's masks mean.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.

        Raises:
            DataError: the set does not say.
        """

    @abstractmethod
    def read(self, split: str, findings: Findings) -> list[SegmentationRecord]:
        """List a split; pictures and masks are not decoded.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            findings: takes what is wrong; reading goes on after an error where ``findings`` does.

        Returns:
            At least one record, unless an error was reported; in the order of the loaders.

        Raises:
            DataError: nothing of the split can be read.
        """

    def records(self, split: str) -> list[SegmentationRecord]:
        """Return a split's pictures and masks, listed once.

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
            if findings.warnings:
                log.warning(
                    "%d warnings in the %s split, the first: %s. `bnn-tasks check-data` lists all of them",
                    *(len(findings.warnings), split, findings.warnings[0]),
                )
            self._records[split] = records
        return self._records[split]

    def setup(self, stage: str) -> None:
        """List the pictures and masks of a stage's splits, and look for what would make the stage worthless.

        Before a fit the headers of all pictures and masks are compared, about 0.1 ms a pair, so that a mask of another size
        is not met hours later. A split that is learnt or judged must have a pixel that is not void.

        Args:
            stage: ``"fit"``, ``"validate"``, ``"test"`` or ``"predict"``.

        Raises:
            DataError: what is wrong with the set; the first of it.
            ImageError: the header of a validation picture or mask cannot be read, before a fit.
        """
        for split in STAGES[stage]:
            records = self.records(split)
            if stage == "fit":
                check_headers(records, self.coding(split), replace_damaged=split == "train")
            if stage != "predict":
                check_counted(self.root, split, records, self.coding(split))
        if stage == "fit" and len(self.class_names) == 1:
            log.warning("%s: %s", self.root, one_class_fault(self.class_names[0]))

    def train_dataloader(self) -> DataLoader[Any]:
        """Return shuffled, augmented training batches; damaged pictures are replaced and named in the batch."""
        dataset = self._dataset("train", self.train_augment, replace_damaged=True)
        return self._loader(dataset, RandomSampler(dataset))

    def val_dataloader(self) -> DataLoader[Any]:
        """Return every validation picture once, in order within a bucket."""
        return self._eval_loader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """Return every test picture once, in order within a bucket."""
        return self._eval_loader("test")

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return every test picture once, in order within a bucket."""
        return self._eval_loader("test")

    def corrupted_loader(self, split: str, name: str, severity: int, seed: int = 0) -> DataLoader[Any]:
        """Return every picture of a split once, in order within a bucket, corrupted before it is resized.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            name: one of `CORRUPTIONS`.
            severity: 1 to 5.
            seed: >= 0.
        """
        read, read_mask = self._readers(split)
        read = CorruptedReader(read, Corrupted(name, severity, seed))
        dataset = SegmentationDataset(self.records(split), self.resize, read_mask, channels=self.channels, read=read)
        return self._loader(dataset, SequentialSampler(dataset))

    def _eval_loader(self, split: str) -> DataLoader[Any]:
        dataset = self._dataset(split, None, replace_damaged=False)
        return self._loader(dataset, SequentialSampler(dataset))

    def _dataset(self, split: str, augment: SegmentationAugment | None, replace_damaged: bool) -> SegmentationDataset:
        read, read_mask = self._readers(split)
        return SegmentationDataset(
            self.records(split), self.resize, read_mask, augment, replace_damaged, self.channels, read
        )

    def _readers(self, split: str) -> tuple[Callable[[Path], np.ndarray], Callable[[Path], np.ndarray]]:
        """What reads pictures, and what reads masks."""
        records = self.records(split)
        masks = [MaskFile(record.mask, record.height, record.width) for record in records]
        for kept, kept_masks in self._caches:
            if kept.covers(records) and kept_masks.covers(masks):
                return kept.read, kept_masks.read
        read_mask = self.coding(split).read
        if not self.cache or split == "test":  # which is read once
            return read_image, read_mask
        taken = sum(kept.size + kept_masks.size for kept, kept_masks in self._caches)
        pictures = ImageCache(records, self.cache_limit - taken)
        labels = PixelCache(masks, self.cache_limit - taken - pictures.size, read_mask, ())
        self._caches.append((pictures, labels))
        return pictures.read, labels.read

    def _loader(self, dataset: SegmentationDataset, sampler: Sampler[int]) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            batch_sampler=BucketBatchSampler(sampler, self.batch_size, False, dataset.sizes),
            num_workers=self.num_workers,
            collate_fn=collate,
            persistent_workers=self.num_workers > 0,
        )

    def check(self) -> SegmentationReport:
        """Read every picture and every mask of every split and list everything that is wrong; nothing stops it."""
        return check_segmentation(self)
