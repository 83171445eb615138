"""Images without labels: any folders of pictures, for what learns without annotations."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from bnn_tasks.data.detection.batch import collate
from bnn_tasks.data.detection.dataset import DetectionDataset, Record
from bnn_tasks.data.detection.view import DetectionAugment
from bnn_tasks.data.findings import DataError, Findings
from bnn_tasks.data.module import STAGES, check_split
from bnn_tasks.data.recorded import Reader, RecordedData
from bnn_tasks.data.recorded_check import check_cache
from bnn_tasks.data.report import DataReport, format_counts
from bnn_tasks.data.voc_files import IMAGE_SUFFIXES
from bnn_tasks.runtime.images import ImageError, image_files, image_size, read_image


@dataclass
class UnlabelledReport(DataReport):
    """What a set without labels contains, and what is wrong with it.

    Attributes:
        images: how many images each split has.
    """

    images: dict[str, int] = field(default_factory=dict)

    def table(self) -> list[str]:
        """Return the line of all images."""
        return format_counts(list(self.images), [("images", list(self.images.values()))])


class UnlabelledImageData(RecordedData[Record]):
    """Every picture below some folders. Its batches are those of a detection set whose images have no objects.

    Val is an even share of the pictures sorted by path, always the same ones; test is val. Shuffling and augmentation draw
    from torch's random numbers, so ``seed_everything`` makes an epoch repeatable for one number of workers.

    Args:
        root: folder of the set.
        sizes: (height, width) of the net's inputs, each side 1..8192; with several, each image goes to the one of
            the nearest aspect ratio, and a batch has one size.
        rule: ``"letterbox"`` or ``"stretch"``, see ``Resize``.
        batch_size: images in a batch, at least 1; an epoch's last batches may be smaller, or have one more, none is dropped.
        num_workers: processes that read images; 0 reads in the main process.
        val_share: of the pictures, which are val, rounded, but at least one and never all; 0 trains on all, without
            validation; 0 <= val_share < 1.
        train_augment: varies the training images; None shows them as they are.
        folders: below ``root``, with all that is below them; the default is ``root`` itself. Others may hold what is no
            picture of the world, masks for instance.
        channels: of the images in a batch: 3 is RGB; 1 is the luma.
        cache: decode train and val once and keep them in memory, see ``ImageCache``.
        cache_limit: GiB that the decoded images may take, > 0; needing more is an error.

    Raises:
        ValueError: a value out of its range.
    """

    _collate = staticmethod(collate)

    def __init__(
        self,
        root: str | Path,
        sizes: list[tuple[int, int]],
        rule: str = "letterbox",
        batch_size: int = 8,
        num_workers: int = 0,
        val_share: float = 0.05,
        train_augment: DetectionAugment | None = None,
        folders: Sequence[str] = (".",),
        channels: int = 3,
        cache: bool = False,
        cache_limit: float = 4.0,
    ) -> None:
        super().__init__(root, sizes, rule, batch_size, num_workers, channels, cache, cache_limit)
        if not 0 <= val_share < 1:
            raise ValueError(f"Expected `val_share` to be in [0, 1), but got {val_share}")
        if not folders:
            raise ValueError("Expected `folders` to name at least one folder below `root`, but got none")
        self.val_share = val_share
        self.train_augment = train_augment
        self.folders = list(folders)

    @property
    def class_names(self) -> list[str]:
        """One word for what all pictures are."""
        return ["image"]

    def paths(self, split: str) -> list[Path]:
        """Return a split's files, sorted by path.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.

        Raises:
            DataError: a folder does not exist, or the split has no picture.
        """
        check_split(split)
        found = sorted({path for name in self.folders for path in _pictures(self.root / name)})
        count = len(found)
        val = min(max(round(self.val_share * count), 1), count - 1) if self.val_share else 0
        held = [(i + 1) * val // count > i * val // count for i in range(count)]  # one in count/val, evenly
        chosen = [path for path, is_val in zip(found, held) if is_val == (split != "train")]
        if not chosen:
            raise DataError(
                f"{self.root}: {len(found)} pictures ({', '.join(sorted(IMAGE_SUFFIXES))}) below {', '.join(self.folders)}, "
                f"so none for {split} with `val_share` {self.val_share}; add some, or set another `val_share`"
            )
        return chosen

    def read(self, split: str, findings: Findings) -> list[Record]:
        """List a split and read its images' headers.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            findings: takes nothing: what cannot be read is met where it is decoded.

        Raises:
            DataError: a folder does not exist, or the split has no picture.
        """
        return [self._record(i, path) for i, path in enumerate(self.paths(split), 1)]

    def _record(self, image_id: int, path: Path) -> Record:
        try:
            height, width = image_size(path)
        except ImageError:  # met again where the image is read: an error in evaluation, a replacement in training
            height, width = self.resize.sizes[0]
        none = np.zeros(0, bool)
        return Record(
            image_id=image_id,
            path=path,
            height=height,
            width=width,
            boxes=np.zeros((0, 4)),
            labels=np.zeros(0, np.int64),
            difficult=none,
            crowd=none,
            area=np.zeros(0),
            ignore=none,
            name=Path(os.path.relpath(path, self.root)).as_posix(),
        )

    @property
    def _stages(self) -> dict[str, tuple[str, ...]]:
        return STAGES if self.val_share else STAGES | {"fit": ("train",)}

    def setup(self, stage: str) -> None:
        """List the images of a stage's splits and read their sizes.

        Args:
            stage: ``"fit"``, ``"validate"``, ``"test"`` or ``"predict"``.

        Raises:
            DataError: a folder does not exist, or a split has no picture.
        """
        for split in self._stages[stage]:
            self.records(split)

    def _dataset(self, split: str, training: bool, read: Reader) -> DetectionDataset:
        augment = self.train_augment if training else None
        return DetectionDataset(self.records(split), self.resize, augment, training, self.channels, read)

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:  # type: ignore[override]  # Lightning takes both
        """Return every validation image once, in order within a bucket; an empty list where ``val_share`` is 0."""
        return super().val_dataloader() if self.val_share else []

    def check(self) -> UnlabelledReport:
        """Read every image of both splits and list every one that cannot be read; nothing stops it."""
        report = UnlabelledReport(self.class_names)
        records: dict[str, list[Record]] = {}
        for split in self._stages["fit"]:
            try:
                records[split] = self.records(split)
            except DataError as error:
                report.errors.append(str(error))
                continue
            report.images[split] = len(records[split])
            for record in records[split]:
                try:
                    height, width = read_image(record.path).shape[:2]
                    report.image_sizes[height, width] += 1
                except ImageError as error:
                    report.errors.append(str(error))
        check_cache(self, records, 3, report)  # RGB
        return report


def _pictures(folder: Path) -> list[Path]:
    """The picture files below a folder; hidden files and folders are left out."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; set `root` and `folders` to where the pictures are")
    return image_files(folder, IMAGE_SUFFIXES)
