"""What every data module of the suite offers, whatever its task: classes, the resize rule, stages, a check."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, SequentialSampler

from bnn_tasks.data.buckets import BucketBatchSampler
from bnn_tasks.data.report import DataReport
from bnn_tasks.runtime.images import Resize, Size

SPLITS = ("train", "val", "test")
STAGES = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}


class Samples(Protocol):
    """A data set as a loader uses it: samples by place, or batches by places."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


class ImageData(LightningDataModule, ABC):
    """Pictures of one set for training and evaluation; predict reads the test split.

    Args:
        root: of the set.
        sizes: (height, width) of the net's inputs, each side 1..8192.
        rule: ``"letterbox"`` or ``"stretch"``, see ``Resize``.
        batch_size: images in a batch, at least 1.
        num_workers: processes that read images; 0 reads in the main process.

    Attributes:
        channels: of the images in a batch; 3 is RGB.

    Raises:
        ValueError: a value out of its range.
    """

    channels: int = 3

    def __init__(
        self, root: str | Path, sizes: list[Size], rule: str = "letterbox", batch_size: int = 8, num_workers: int = 0
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"Expected `batch_size` to be at least 1, but got {batch_size}")
        if num_workers < 0:
            raise ValueError(f"Expected `num_workers` to be at least 0, but got {num_workers}")
        self.root = Path(root)
        self.resize = Resize(tuple((height, width) for height, width in sizes), rule)
        self.batch_size = batch_size
        self.num_workers = num_workers

    @property
    @abstractmethod
    def class_names(self) -> list[str]:
        """The K class names in label order; known before ``setup``."""

    @abstractmethod
    def setup(self, stage: str) -> None:
        """Read what the splits of a stage need.

        Args:
            stage: ``"fit"``, ``"validate"``, ``"test"`` or ``"predict"``.

        Raises:
            DataError: what is wrong with the set; the first of it.
        """

    def _loader(self, dataset: Samples, collate: Callable[[Any], Any], **options: Any) -> DataLoader[Any]:
        return DataLoader(
            dataset,  # type: ignore[arg-type]  # which asks for torch's Dataset by name, but uses these methods
            **options,
            num_workers=self.num_workers,
            collate_fn=collate,
            persistent_workers=self.num_workers > 0,
        )

    def _ordered_loader(
        self, dataset: Samples, buckets: Sequence[Hashable], collate: Callable[[Any], Any]
    ) -> DataLoader[Any]:
        """Every sample once, in order within a bucket."""
        batches = BucketBatchSampler(SequentialSampler(dataset), self.batch_size, False, buckets)
        # A generator of its own: a loader draws a seed for its workers, which would change the training that follows.
        return self._loader(dataset, collate, batch_sampler=batches, generator=torch.Generator())

    @abstractmethod
    def check(self) -> DataReport:
        """Read every picture of every split and list everything that is wrong; nothing stops it."""


def check_split(split: str) -> None:
    """Raise unless a split is one of ``SPLITS``.

    Args:
        split: its name.

    Raises:
        ValueError: it is not.
    """
    if split not in SPLITS:
        raise ValueError(f"Expected `split` to be one of {SPLITS}, but got {split!r}")


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise unless a value is in a range.

    Args:
        name: of the argument.
        value: of the argument.
        low: least value.
        high: largest value.

    Raises:
        ValueError: it is not, or it is NaN.
    """
    if not low <= value <= high:
        raise ValueError(f"Expected `{name}` to be in [{low}, {high}], but got {value}")
