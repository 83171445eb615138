"""Detection sets in COCO's format."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from bnn_tasks.data.coco_file import CocoFiles, CocoImage
from bnn_tasks.data.coco_pictures import find_pictures
from bnn_tasks.data.detection.base import DetectionData
from bnn_tasks.data.detection.dataset import Record
from bnn_tasks.data.findings import DataError, Findings
from bnn_tasks.data.module import SPLITS

log = logging.getLogger(__name__)

ANNOTATIONS = {"train": "annotations/instances_train2017.json", "val": "annotations/instances_val2017.json"}
IMAGES = {"train": "train2017", "val": "val2017"}


class CocoDetectionData(DetectionData):
    """A folder of images and one instances JSON file for each split.

    Boxes are as in the file; training clips them to the canvas. Crowds are ignored in the loss, and in evaluation
    as pycocotools does. Without test annotations (COCO publishes none) the test split is val.

    Args:
        root: folder of the set.
        sizes: see ``DetectionData``.
        annotations: JSON file below ``root`` by split; by default COCO 2017's.
        images: image folder below ``root`` by split; by default COCO 2017's.
        **kwargs: the other arguments of ``DetectionData``.

    Raises:
        ValueError: an unknown split, or a split with annotations and no images.
    """

    def __init__(
        self,
        root: str | Path,
        sizes: list[tuple[int, int]],
        annotations: dict[str, str] | None = None,
        images: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, sizes, **kwargs)
        self.annotations = ANNOTATIONS if annotations is None else annotations
        self.image_folders = IMAGES if images is None else images
        if set(self.annotations) != set(self.image_folders) or not set(self.annotations) <= set(SPLITS):
            raise ValueError(
                f"Expected `annotations` and `images` to have the same keys out of {SPLITS}, but got "
                f"{sorted(self.annotations)} and {sorted(self.image_folders)}"
            )
        self._categories: dict[int, str] = {}
        self._files = CocoFiles()

    @property
    def class_names(self) -> list[str]:
        """The category names in the order of their ids, which is the label order."""
        return list(self._known_categories().values())

    @property
    def category_ids(self) -> list[int]:
        """The file's category ids, sorted; they may have gaps."""
        return list(self._known_categories())

    def _known_categories(self) -> dict[int, str]:
        if not self._categories:
            first = next(iter(self.annotations.values()), None)
            if first is None:
                raise DataError(f"{self.root}: no annotation file is named; set `annotations`")
            self._categories = self._files.read(self.root / first, Findings()).categories
        return self._categories

    def setup(self, stage: str) -> None:
        """Read the annotations of a stage's splits, and keep none of the files.

        Args:
            stage: ``"fit"``, ``"validate"``, ``"test"`` or ``"predict"``.

        Raises:
            DataError: what is wrong with the set; the first of it.
        """
        super().setup(stage)
        self._files.forget()

    def read(self, split: str, findings: Findings) -> list[Record]:
        """Read a split's JSON file and the headers of its images.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            findings: takes what is wrong.
        """
        if split == "test" and "test" not in self.annotations:
            log.info("%s: no test annotations, so the test split is the val split", self.root)
            split = "val"
        if split not in self.annotations:
            raise DataError(f"{self.root}: there is no {split} split; add it to `annotations` and `images`")
        path, folder = self.root / self.annotations[split], self.root / self.image_folders[split]
        file = self._files.read(path, findings)
        if file.categories != self._known_categories():
            findings.error(f"{path}: its categories are not those of the other splits; make them equal")
        label = {id_: position for position, id_ in enumerate(file.categories)}
        pictures = find_pictures(file, path, folder, findings)
        return [_record(file.images[id_], picture, label) for id_, picture in pictures.items()]


def _record(image: CocoImage, picture: Path, label: dict[int, int]) -> Record:
    crowd = np.array([found.crowd for found in image.objects], bool)
    return Record(
        image_id=image.id,
        path=picture,
        height=image.height,
        width=image.width,
        boxes=np.array([found.box for found in image.objects], np.float64).reshape(-1, 4),
        labels=np.array([label[found.category] for found in image.objects], np.int64),
        difficult=np.zeros(len(crowd), bool),
        crowd=crowd,
        area=np.array([found.area for found in image.objects], np.float64),
        ignore=crowd.copy(),
        name=image.file_name,
    )
