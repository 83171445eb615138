"""The data module that every segmentation set shares: canvases, batches, caches; no file format."""

import logging
from abc import abstractmethod
from pathlib import Path

from bnn_tasks.data.cache import PixelCache
from bnn_tasks.data.module import SPLITS, STAGES
from bnn_tasks.data.named import check_split_keys
from bnn_tasks.data.recorded import Reader, RecordedData
from bnn_tasks.data.segmentation.augment import SegmentationAugment
from bnn_tasks.data.segmentation.batch import collate
from bnn_tasks.data.segmentation.check import SegmentationReport, check_segmentation
from bnn_tasks.data.segmentation.coding import MaskCoding
from bnn_tasks.data.segmentation.dataset import MaskFile, SegmentationDataset, SegmentationRecord
from bnn_tasks.data.segmentation.faults import one_class_fault, unmet_fault, void_class_hint
from bnn_tasks.data.segmentation.preflight import check_counted, check_headers, unmet_classes

log = logging.getLogger(__name__)


class SegmentationData(RecordedData[SegmentationRecord]):
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
        batch_size: pictures in a batch, at least 1; an epoch's last batches may be smaller, or have one more, none is dropped.
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

    _collate = staticmethod(collate)

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
        super().__init__(root, sizes, rule, batch_size, num_workers, channels, cache, cache_limit)
        check_split_keys(splits or {})
        self.train_augment = train_augment
        self.splits = {split: split for split in SPLITS} | (splits or {})
        self._named = frozenset(splits or {})  # these are what they say, without a way out

    @abstractmethod
    def coding(self, split: str) -> MaskCoding:
        """Return what the values of a split's masks mean.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.

        Raises:
            DataError: the set does not say.
        """

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
        if stage == "fit":
            self._warn_of_classes()

    def _warn_of_classes(self) -> None:
        """Say where there is nothing to tell apart, or a class that no training mask has."""
        names = self.class_names
        if len(names) == 1:
            log.warning("%s: %s", self.root, one_class_fault(names[0]))
        unmet = unmet_classes(self.records("train"), self.coding("train"), len(names))
        for label in unmet:
            log.warning("%s: %s", self.root, unmet_fault(names[label]))
        if hint := void_class_hint(names, unmet):
            log.warning("%s: %s", self.root, hint)

    def _dataset(self, split: str, training: bool, read: Reader) -> SegmentationDataset:
        augment = self.train_augment if training else None
        masks = self._mask_reader(split)
        return SegmentationDataset(self.records(split), self.resize, masks, augment, training, self.channels, read)

    def _mask_reader(self, split: str) -> Reader:
        masks = [MaskFile(record.mask, record.height, record.width) for record in self.records(split)]
        read = self.coding(split).read
        return self._kept("masks", split, masks, read, lambda limit: PixelCache(masks, limit, read, ()))

    def check(self) -> SegmentationReport:
        """Read every picture and every mask of every split and list everything that is wrong; nothing stops it."""
        return check_segmentation(self)
