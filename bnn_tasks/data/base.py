"""The data module that every detection set shares: canvases, batches, ground truth; no file format."""

import logging
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, RandomSampler, Sampler, SequentialSampler

from bnn_tasks.data.batch import collate
from bnn_tasks.data.buckets import BucketBatchSampler
from bnn_tasks.data.cache import ImageCache
from bnn_tasks.data.check import Report, check
from bnn_tasks.data.corrupted import Corrupted, CorruptedReader
from bnn_tasks.data.dataset import DetectionDataset, Record, learnt_labels
from bnn_tasks.data.findings import DataError, Findings, StrictFindings
from bnn_tasks.data.module import STAGES, ImageData, check_split
from bnn_tasks.data.view import DetectionAugment
from bnn_tasks.runtime.images import read_image

log = logging.getLogger(__name__)


class DetectionData(ImageData):
    """Detection sets for training and evaluation; predict reads the test split.

    A subclass reads its format in ``read`` and says its classes. Shuffling and augmentation draw from torch's random
    numbers, so ``seed_everything`` makes an epoch repeatable for one number of workers. In a distributed run of Lightning
    each image of an epoch, training or evaluation, goes to exactly one process, see ``BucketBatchSampler``; that needs the
    trainer's default ``use_distributed_sampler: true``.

    Args:
        root: folder of the set.
        sizes: (height, width) of the net's inputs, each side 1..8192; with several, each image goes to the one of
            the nearest aspect ratio, and a batch has one size.
        rule: ``"letterbox"`` or ``"stretch"``, see ``Resize``.
        batch_size: images in a batch, at least 1; an epoch's last batches may be smaller, none is dropped.
        num_workers: processes that read images; 0 reads in the main process.
        train_augment: varies the training images; None shows them as they are.
        channels: of the images in a batch: 3 is RGB; 1 is the luma, for grey and infrared sets, and the net's first layer
            then takes one channel. 16-bit pictures are scaled to 8 bits, 65535 to 255, either way.
        cache: decode train and val images once and keep them in memory, see ``ImageCache``; it happens in the main process,
            when the first epoch starts, and serves any number of workers. Test reads them from files unless it is val.
        cache_limit: GiB that the decoded images may take, > 0; needing more is an error.

    Raises:
        ValueError: a value out of its range.
    """

    def __init__(
        self,
        root: str | Path,
        sizes: list[tuple[int, int]],
        rule: str = "letterbox",
        batch_size: int = 8,
        num_workers: int = 0,
        train_augment: DetectionAugment | None = None,
        channels: int = 3,
        cache: bool = False,
        cache_limit: float = 4.0,
    ) -> None:
        super().__init__(root, sizes, rule, batch_size, num_workers)
        if channels not in (1, 3):
            raise ValueError(f"Expected `channels` to be 3 (RGB) or 1 (grey), but got {channels}")
        if not cache_limit > 0:
            raise ValueError(f"Expected `cache_limit` to be more than 0 GiB, but got {cache_limit}")
        self.train_augment = train_augment
        self.channels = channels
        self.cache = cache
        self.cache_limit = int(cache_limit * 2**30)
        self._caches: list[ImageCache] = []
        self._records: dict[str, list[Record]] = {}

    @property
    @abstractmethod
    def category_ids(self) -> list[int]:
        """The K category ids of ``ground_truth``, in label order."""

    @abstractmethod
    def read(self, split: str, findings: Findings) -> list[Record]:
        """Read a split's annotations; images are not decoded.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            findings: takes what is wrong; reading goes on after an error where ``findings`` does.

        Returns:
            At least one record, unless an error was reported; in the order of ``image_id``.
        """

    def records(self, split: str) -> list[Record]:
        """Return a split's annotations, read once.

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
                raise DataError(f"{self.root}: the {split} split has no images")
            if findings.warnings:
                log.warning(
                    "%d warnings in the %s split, the first: %s. `bnn-tasks check-data` lists all of them",
                    *(len(findings.warnings), split, findings.warnings[0]),
                )
            self._records[split] = records
        return self._records[split]

    def setup(self, stage: str) -> None:
        """Read the annotations of a stage's splits.

        Args:
            stage: ``"fit"``, ``"validate"``, ``"test"`` or ``"predict"``.

        Raises:
            DataError: what is wrong with the set; the first of it.
        """
        for split in STAGES[stage]:
            self.records(split)
        if stage == "fit":
            seen = learnt_labels(self.records("train"))
            if unseen := [name for label, name in enumerate(self.class_names) if label not in seen]:
                log.warning(
                    "%s: no object in the train split, so not to be learnt (difficult and crowd ones do not count): %s",
                    self.root,
                    ", ".join(unseen),
                )

    def train_dataloader(self) -> DataLoader[Any]:
        """Return shuffled, augmented training batches; damaged images are replaced and named in the batch."""
        dataset = DetectionDataset(
            self.records("train"), self.resize, self.train_augment, True, self.channels, self._reader("train")
        )
        return self._loader(dataset, RandomSampler(dataset))

    def val_dataloader(self) -> DataLoader[Any]:
        """Return every validation image once, in order within a bucket."""
        return self._eval_loader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """Return every test image once, in order within a bucket."""
        return self._eval_loader("test")

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return every test image once, in order within a bucket."""
        return self._eval_loader("test")

    def corrupted_loader(self, split: str, name: str, severity: int, seed: int = 0) -> DataLoader[Any]:
        """Return every picture of a split once, in order within a bucket, corrupted before it is resized.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            name: one of `CORRUPTIONS`.
            severity: 1 to 5.
            seed: >= 0.
        """
        read = CorruptedReader(self._reader(split), Corrupted(name, severity, seed))
        dataset = DetectionDataset(self.records(split), self.resize, channels=self.channels, read=read)
        return self._loader(dataset, SequentialSampler(dataset))

    def _eval_loader(self, split: str) -> DataLoader[Any]:
        dataset = DetectionDataset(self.records(split), self.resize, channels=self.channels, read=self._reader(split))
        return self._loader(dataset, SequentialSampler(dataset))

    def _reader(self, split: str) -> Callable[[Path], np.ndarray]:
        records = self.records(split)
        for cache in self._caches:
            if cache.covers(records):
                return cache.read
        if not self.cache or split == "test":  # which is read once
            return read_image
        self._caches.append(ImageCache(records, self.cache_limit - sum(cache.size for cache in self._caches)))
        return self._caches[-1].read

    def _loader(self, dataset: DetectionDataset, sampler: Sampler[int]) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            batch_sampler=BucketBatchSampler(sampler, self.batch_size, False, dataset.sizes),
            num_workers=self.num_workers,
            collate_fn=collate,
            persistent_workers=self.num_workers > 0,
        )

    def ground_truth(self, split: str) -> dict[str, Any]:
        """Return a split as a COCO annotation file's content, which pycocotools' ``COCO`` indexes.

        Boxes are xywh in original pixels and continuous: x in [0, width], a one-pixel box is one wide. Every
        annotation also says ``difficult``, which COCO does not know.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
        """
        records = self.records(split)
        images = [
            {"id": record.image_id, "file_name": record.path.name, "width": record.width, "height": record.height}
            for record in records
        ]
        annotations: list[dict[str, Any]] = []
        for record in records:
            sides = record.boxes[:, 2:] - record.boxes[:, :2]
            for i, label in enumerate(record.labels):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": record.image_id,
                        "category_id": self.category_ids[label],
                        "bbox": [*record.boxes[i, :2].tolist(), *sides[i].tolist()],
                        "area": float(record.area[i]),
                        "iscrowd": int(record.crowd[i]),
                        "difficult": int(record.difficult[i]),
                    }
                )
        categories = [{"id": id_, "name": name} for id_, name in zip(self.category_ids, self.class_names)]
        return {"info": {}, "images": images, "annotations": annotations, "categories": categories}

    def check(self) -> Report:
        """Read every annotation and every image of every split and list everything that is wrong; nothing stops it."""
        return check(self)
