"""Class masks made of COCO's instances."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as rle

from bnn_tasks.data.coco_file import CocoFiles
from bnn_tasks.data.coco_pictures import find_pictures
from bnn_tasks.data.coco_segmentation import segmentation_fault
from bnn_tasks.data.detection.coco import ANNOTATIONS, IMAGES
from bnn_tasks.data.findings import DataError, Findings
from bnn_tasks.data.segmentation.base import SegmentationData
from bnn_tasks.data.segmentation.batch import VOID
from bnn_tasks.data.segmentation.coding import MOST_CLASSES, MaskCoding
from bnn_tasks.data.segmentation.dataset import SegmentationRecord
from bnn_tasks.runtime.images import Size


class Instance(NamedTuple):
    """One object.

    Attributes:
        id: of its annotation.
        label: 1..K-1; 0 is the background.
        name: of its category.
        segmentation: as in the file.
    """

    id: int
    label: int
    name: str
    segmentation: Any


class InstanceCoding(MaskCoding):
    """Masks drawn from instances: background 0 where there is none, and void where instances of two classes overlap.

    Nothing in the file says which of two instances is in front. Crowds count as their class.

    Args:
        instances: (height, width) and objects of each picture, by the annotation file's path with the picture's name.
    """

    def __init__(self, instances: Mapping[Path, tuple[Size, Sequence[Instance]]]) -> None:
        self.instances = instances

    def read(self, path: Path) -> np.ndarray:
        """Draw the mask of one picture; see ``MaskCoding``.

        Args:
            path: a key of ``instances``.
        """
        size, instances = self.instances[path]
        mask = np.zeros(size, np.uint8)
        for id_, label, name, segmentation in instances:
            if fault := segmentation_fault(segmentation, size):
                raise DataError(
                    f"{path.parent}: an object {name!r} of picture {path.name}: {fault}; correct annotation {id_}"
                )
            inside = _draw(segmentation, size)
            mask[inside & (mask != 0) & (mask != label)] = VOID
            mask[inside & (mask == 0)] = label
        return mask

    def size(self, path: Path) -> Size:
        """Return the mask's (height, width), the annotation file's; see ``MaskCoding``.

        Args:
            path: a key of ``instances``.
        """
        return self.instances[path][0]


class CocoInstanceMaskData(SegmentationData):
    """COCO's instances as class masks: background, and the categories in the order of their ids, K = 81 of COCO 2017.

    Args:
        root: folder of the set.
        sizes: see ``SegmentationData``.
        annotations: instances JSON file below ``root`` by split; by default COCO 2017's.
        images: picture folder below ``root`` by split; by default COCO 2017's.
        splits: see ``SegmentationData``; test is val where ``annotations`` has no test.
        **kwargs: the other arguments of ``SegmentationData``.

    Raises:
        ValueError: ``annotations`` and ``images`` are not of the same splits.
    """

    def __init__(
        self,
        root: str | Path,
        sizes: list[tuple[int, int]],
        annotations: dict[str, str] | None = None,
        images: dict[str, str] | None = None,
        splits: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.annotations = ANNOTATIONS if annotations is None else annotations
        self.image_folders = IMAGES if images is None else images
        if set(self.annotations) != set(self.image_folders):
            raise ValueError(
                f"Expected `annotations` and `images` to have the same keys, but got {sorted(self.annotations)} and "
                f"{sorted(self.image_folders)}. Cure: name a file and a folder for each split"
            )
        test = {} if "test" in self.annotations else {"test": "val"}
        super().__init__(root, sizes, splits=test | (splits or {}), **kwargs)
        self._instances: dict[str, dict[Path, tuple[Size, list[Instance]]]] = {}
        self._categories: dict[int, str] = {}
        self._files = CocoFiles()

    @property
    def class_names(self) -> list[str]:
        """Background, then the category names of the train file in the order of their ids."""
        if not self._categories:
            self._categories = self._files.read(self._path("train"), Findings()).categories
        names = ["background", *self._categories.values()]
        if names.count("background") > 1:
            raise DataError(
                f"{self._path('train')}: a category is called 'background', as what has no object is; give it another name"
            )
        if len(names) > MOST_CLASSES:
            raise DataError(
                f"{self._path('train')}: {len(names)} classes with the background, but 255 is void; leave some out"
            )
        return names

    def coding(self, split: str) -> MaskCoding:
        """Return the objects of a split's pictures.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.

        Raises:
            DataError: what is wrong with the split's file.
        """
        if self.splits[split] not in self._instances:
            self.records(split)
        return InstanceCoding(self._instances[self.splits[split]])

    def setup(self, stage: str) -> None:
        """List a stage's splits and look at their masks, see ``SegmentationData``, and keep none of the files.

        Args:
            stage: ``"fit"``, ``"validate"``, ``"test"`` or ``"predict"``.

        Raises:
            DataError: what is wrong with the set; the first of it.
            ImageError: the header of a validation picture cannot be read, before a fit.
        """
        super().setup(stage)
        self._files.forget()

    def read(self, split: str, findings: Findings) -> list[SegmentationRecord]:
        """Read a split's JSON file and the headers of its pictures; masks are drawn later.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            findings: takes what is wrong.
        """
        path, name = self._path(split), self.splits[split]
        file = self._files.read(path, findings)
        if ["background", *file.categories.values()] != self.class_names:
            raise DataError(f"{path}: its categories are not those of the train split; make them equal")
        label = {id_: place for place, id_ in enumerate(file.categories, 1)}
        records, instances = [], {}
        for id_, picture in find_pictures(file, path, self.root / self.image_folders[name], findings).items():
            image = file.images[id_]
            size = (image.height, image.width)
            drawn = path / image.file_name  # no file: two annotation files may draw different masks of one picture
            masked = [*image.objects, *(one for one in image.boxless if one.segmentation)]
            instances[drawn] = (
                size,
                [Instance(o.id, label[o.category], file.categories[o.category], o.segmentation) for o in masked],
            )
            records.append(SegmentationRecord(picture, drawn, *size, image.file_name))
        self._instances[name] = instances
        return records

    def _path(self, split: str) -> Path:
        name = self.splits[split]
        if name not in self.annotations:
            raise DataError(f"{self.root}: there is no {name} split; add it to `annotations` and `images`")
        return self.root / self.annotations[name]


def _draw(segmentation: Any, size: Size) -> np.ndarray:
    """(height, width) bool, by pycocotools, whose rounding is COCO's own."""
    if isinstance(segmentation, list):
        encoded = rle.merge(rle.frPyObjects(segmentation, *size))
    elif isinstance(segmentation["counts"], list):
        encoded = rle.frPyObjects(segmentation, *size)
    else:
        encoded = segmentation
    return np.asarray(rle.decode(encoded), bool)
