"""Detection sets in COCO's format."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from bnn_tasks.data.coco_file import COCO_SOURCE, CocoFile, CocoImage, read_coco
from bnn_tasks.data.detection.base import DetectionData
from bnn_tasks.data.detection.dataset import Record
from bnn_tasks.data.findings import DataError, Findings
from bnn_tasks.data.module import SPLITS

log = logging.getLogger(__name__)

ANNOTATIONS = {"train": "annotations/instances_train2017.json", "val": "annotations/instances_val2017.json"}
IMAGES = {"train": "train2017", "val": "val2017"}
NAMED_MISSING = 5


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
            self._categories = read_coco(self.root / first, Findings()).categories
        return self._categories

    def read(self, split: str, findings: Findings) -> list[Record]:
        """Read a split's JSON file.

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
        if not folder.is_dir():
            raise DataError(f"{folder}: no such image folder; correct `images`; {COCO_SOURCE}")
        file = read_coco(path, findings)
        if file.categories != self._known_categories():
            findings.error(f"{path}: its categories are not those of the other splits; make them equal")
        there = {found.relative_to(folder).as_posix() for found in folder.rglob("*") if found.is_file()}
        present = [image for image in file.images.values() if image.file_name in there]
        if missing := [image.file_name for image in file.images.values() if image.file_name not in there]:
            findings.error(_missing(path, folder, missing))
        return [self._record(image, folder, file) for image in present]

    def _record(self, image: CocoImage, folder: Path, file: CocoFile) -> Record:
        label = {id_: position for position, id_ in enumerate(file.categories)}
        crowd = np.array([found.crowd for found in image.objects], bool)
        return Record(
            image_id=image.id,
            path=folder / image.file_name,
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


def _missing(path: Path, folder: Path, missing: list[str]) -> str:
    named = ", ".join(missing[:NAMED_MISSING])
    more = f" and {len(missing) - NAMED_MISSING} more" if len(missing) > NAMED_MISSING else ""
    return f"{path}: {len(missing)} images are not in {folder}: {named}{more}; add them or remove their entries"
