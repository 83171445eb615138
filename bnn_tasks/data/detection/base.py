"""The data module that every detection set shares: canvases, batches, ground truth; no file format."""

import logging
from abc import abstractmethod
from pathlib import Path
from typing import Any

from bnn_tasks.data.detection.batch import collate
from bnn_tasks.data.detection.check import Report, check
from bnn_tasks.data.detection.dataset import DetectionDataset, Record, learnt_labels
from bnn_tasks.data.detection.view import DetectionAugment
from bnn_tasks.data.module import STAGES
from bnn_tasks.data.recorded import Reader, RecordedData

log = logging.getLogger(__name__)


class DetectionData(RecordedData[Record]):
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
        batch_size: images in a batch, at least 1; an epoch's last batches may be smaller, or have one more, none is dropped.
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

    _collate = staticmethod(collate)

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
        super().__init__(root, sizes, rule, batch_size, num_workers, channels, cache, cache_limit)
        self.train_augment = train_augment

    @property
    @abstractmethod
    def category_ids(self) -> list[int]:
        """The K category ids of ``ground_truth``, in label order."""

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

    def _dataset(self, split: str, training: bool, read: Reader) -> DetectionDataset:
        augment = self.train_augment if training else None
        return DetectionDataset(self.records(split), self.resize, augment, training, self.channels, read)

    def ground_truth(self, split: str) -> dict[str, Any]:
        """Return a split as a COCO annotation file's content, which pycocotools' ``COCO`` indexes.

        Boxes are xywh in original pixels and continuous: x in [0, width], a one-pixel box is one wide. Every
        annotation also says ``difficult``, which COCO does not know.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
        """
        records = self.records(split)
        images = [
            {"id": record.image_id, "file_name": record.name, "width": record.width, "height": record.height}
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
