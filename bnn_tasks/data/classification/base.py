"""The data module that every classification set shares: splits, canvases, batches; no file format."""

import logging
import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from torch.utils.data import DataLoader

from bnn_tasks.data.classification.augment import BatchAugment, PictureAugment
from bnn_tasks.data.classification.check import ClassificationReport, check_classification, one_class_fault
from bnn_tasks.data.classification.corrupted import CorruptedSource
from bnn_tasks.data.classification.dataset import CachedDataset, ClassificationDataset, FileDataset
from bnn_tasks.data.classification.pictures import Pictures, Sample, hold_out
from bnn_tasks.data.corrupted import Corrupted
from bnn_tasks.data.findings import DataError, Findings, StrictFindings
from bnn_tasks.data.module import STAGES, ImageData, check_split
from bnn_tasks.runtime.images import Size

log = logging.getLogger(__name__)

T = TypeVar("T")


class ClassificationData(ImageData):
    """Classification sets for training and evaluation; predict reads the test split.

    A subclass says which splits it has, and reads them. Where a set has no val split, a share of each class of the train
    split is held out, always the same pictures; where it has no test split, test is val. Shuffling and augmentation
    draw from torch's random numbers, so ``seed_everything`` makes an epoch repeatable for one number of workers. With several
    processes, evaluation shows each picture in exactly one of them, see ``BucketBatchSampler``; that needs the trainer's
    default ``use_distributed_sampler: true``.

    Args:
        root: of the set.
        size: (height, width) of the net's inputs, each side 1..8192.
        rule: ``"letterbox"`` or ``"stretch"``, see ``Resize``.
        batch_size: images in a batch, at least 1; the last batch may be smaller, in evaluation it may have one more.
        num_workers: processes that read images; 0 reads in the main process.
        train_augment: varies the training images; None shows them as they are.
        val_fraction: share of the train split that is val where the set has no val split; 0 trains on all of it, without
            validation; 0 <= val_fraction < 1.
        cache: decode the set once and keep its canvases in memory.
        drop_last_train: leave out the train images that do not fill a batch, other ones each epoch. Without it, one
            image left over, of the share of any process, is an error, since BatchNorm learns nothing from it. Val and test
            are never cut.

    Raises:
        ValueError: a value out of its range, or a ``PictureAugment`` with ``cache``, which has no pictures left.
    """

    def __init__(
        self,
        root: str | Path,
        size: Size,
        rule: str = "letterbox",
        batch_size: int = 128,
        num_workers: int = 0,
        train_augment: BatchAugment | PictureAugment | None = None,
        val_fraction: float = 0.1,
        cache: bool = False,
        drop_last_train: bool = False,
    ) -> None:
        super().__init__(root, [size], rule, batch_size, num_workers)
        if not 0 <= val_fraction < 1:
            raise ValueError(f"Expected `val_fraction` to be in [0, 1), but got {val_fraction}")
        if cache and isinstance(train_augment, PictureAugment):
            raise ValueError(
                f"Expected `train_augment` to be a BatchAugment such as CropFlip where `cache` keeps canvases only, but got "
                f"{type(train_augment).__name__}; set `cache` to false"
            )
        self.train_augment = train_augment
        self.val_fraction = val_fraction
        self.cache = cache
        self.drop_last_train = drop_last_train
        self._own: dict[str, Pictures] = {}
        self._pictures: dict[str, Pictures] = {}
        self._datasets: dict[str, ClassificationDataset] = {}

    @abstractmethod
    def own_splits(self) -> set[str]:
        """Return which of "train", "val" and "test" the set has itself.

        Raises:
            DataError: the set cannot be read.
        """

    @abstractmethod
    def read(self, split: str, findings: Findings) -> Pictures:
        """List a split that the set has itself; pictures are not decoded.

        Args:
            split: one of ``own_splits()``.
            findings: takes what is wrong; reading goes on after an error where ``findings`` does.

        Raises:
            DataError: nothing of the split can be read.
        """

    @property
    def has_val(self) -> bool:
        """Whether there is a val split, the set's own or a held-out one."""
        return self.val_fraction > 0 or "val" in self.own_splits()

    def select(self, split: str, read: Callable[[str], Pictures]) -> Pictures:
        """Return the pictures of a split, whether the set has it itself or not.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            read: lists a split that the set has itself.

        Raises:
            DataError: there is no such split.
        """
        own = self.own_splits()
        if split == "test" and "test" not in own:
            log.info("%s: no test split, so the test split is the val split", self.root)
            split = "val"
        if split not in own and not (split == "val" and "train" in own):
            raise DataError(f"{self.root}: there is no {split} split; there are {sorted(own) or 'none'}")
        if split == "test" or "val" in own or (split == "train" and self.val_fraction == 0):
            return read(split)
        if self.val_fraction == 0:
            raise DataError(f"{self.root}: there is no val split; add one, or set `val_fraction` above 0")
        train = read("train")
        kept, held = hold_out([sample.label for sample in train.samples], self.val_fraction)
        return train.subset(kept if split == "train" else held)

    def pictures(self, split: str) -> Pictures:
        """Return the pictures of a split, listed once.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.

        Raises:
            DataError: what is wrong with the set; the first of it.
        """
        check_split(split)

        def select() -> Pictures:
            pictures = self.select(split, self._read_own)
            if not len(pictures):
                raise DataError(f"{self.root}: the {split} split has no pictures; add some")
            return pictures

        return _once(self._pictures, split, select)

    def samples(self, split: str) -> list[Sample]:
        """Return the names and labels of a split; val's and test's are in the order of their loaders.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.

        Raises:
            DataError: what is wrong with the set; the first of it.
        """
        return self.pictures(split).samples

    def _read_own(self, split: str) -> Pictures:
        def read() -> Pictures:
            findings = StrictFindings()
            pictures = self.read(split, findings)
            findings.log_warnings(split)
            return pictures

        return _once(self._own, split, read)

    def setup(self, stage: str) -> None:
        """List the pictures of a stage's splits, and decode them where ``cache`` says so.

        Args:
            stage: ``"fit"``, ``"validate"``, ``"test"`` or ``"predict"``.

        Raises:
            DataError: what is wrong with the set; the first of it.
            ImageError: a val or test picture cannot be read, where ``cache`` reads them.
            ValueError: the train split does not go into batches of this size in that many processes.
        """
        if stage == "fit":
            self._check_batches(len(self.pictures("train")), self.trainer.world_size if self.trainer else 1)
            if len(self.class_names) == 1:
                log.warning(one_class_fault(self.root, self.class_names[0]))
        for split in STAGES[stage]:
            if stage != "fit" or split != "val" or self.has_val:
                self._dataset(split)

    def _check_batches(self, count: int, processes: int) -> None:
        share = math.ceil(count / processes)  # of each: torch's sampler repeats some pictures to even them out
        pictures = f"{share} train pictures" + (f" of each of {processes} processes" if processes > 1 else "")
        if self.drop_last_train and share < self.batch_size:
            raise ValueError(
                f"Expected `batch_size` to be at most the {pictures} with `drop_last_train`, but got {self.batch_size}; "
                "choose a smaller one"
            )
        if not self.drop_last_train and share % self.batch_size == 1 and self.batch_size > 1:
            raise ValueError(
                f"Expected no train batch of one image, from which BatchNorm cannot learn, but the {pictures} in batches of "
                f"{self.batch_size} leave one over; set `drop_last_train` to true, or another `batch_size`"
            )

    def _dataset(self, split: str) -> ClassificationDataset:
        def build() -> ClassificationDataset:
            train = split == "train"
            augment = self.train_augment if train else None
            if self.cache and not isinstance(augment, PictureAugment):
                return CachedDataset(self.pictures(split), self.resize, augment, replace_damaged=train)
            return FileDataset(self.pictures(split), self.resize, augment, replace_damaged=train)

        return _once(self._datasets, split, build)

    def train_dataloader(self) -> DataLoader[Any]:
        """Return shuffled, augmented training batches; damaged pictures are replaced and named in the batch."""
        batches = {"batch_size": self.batch_size, "shuffle": True, "drop_last": self.drop_last_train}
        return self._loader(self._dataset("train"), _as_it_is, **batches)

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """Return every validation picture once, in order; an empty list where ``val_fraction`` is 0 and there is none."""
        return self._evaluation_loader(self._dataset("val")) if self.has_val else []

    def test_dataloader(self) -> DataLoader[Any]:
        """Return every test picture once, in order."""
        return self._evaluation_loader(self._dataset("test"))

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return every test picture once, in order."""
        return self._evaluation_loader(self._dataset("test"))

    def corrupted_loader(self, split: str, name: str, severity: int, seed: int = 0) -> DataLoader[Any]:
        """Return every picture of a split once, in order, corrupted before it is resized.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            name: one of `CORRUPTIONS`.
            severity: 1 to 5.
            seed: >= 0.
        """
        pictures = self.pictures(split)
        source = CorruptedSource(pictures.source, Corrupted(name, severity, seed))
        dataset = FileDataset(replace(pictures, source=source), self.resize, None, replace_damaged=False)
        return self._evaluation_loader(dataset)

    def _evaluation_loader(self, dataset: ClassificationDataset) -> DataLoader[Any]:
        one_bucket = [0] * len(dataset)
        return self._ordered_loader(dataset, one_bucket, _as_it_is)

    def check(self) -> ClassificationReport:
        """Read every picture of every split and list everything that is wrong; nothing stops it."""
        return check_classification(self)


def _once(cache: dict[str, T], key: str, make: Callable[[], T]) -> T:
    if key not in cache:
        cache[key] = make()
    return cache[key]


def _as_it_is(batch: Any) -> Any:  # a whole batch, not the list of samples that torch's types expect
    return batch
