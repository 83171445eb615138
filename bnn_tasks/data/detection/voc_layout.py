"""What sets in PASCAL VOC's format share: one XML file an image becomes one record."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bnn_tasks.data.detection.base import DetectionData
from bnn_tasks.data.detection.dataset import Record
from bnn_tasks.data.detection.voc_xml import VOCAnnotation, VOCObject, read_annotation
from bnn_tasks.data.findings import Findings
from bnn_tasks.data.voc_files import VOCFiles
from bnn_tasks.runtime.images import ImageError, Size, image_size


class VOCEntry(NamedTuple):
    """One line of a split list.

    Attributes:
        files: of the folder that the list belongs to.
        name: of the image, without suffix.
    """

    files: VOCFiles
    name: str


class VOCLayoutData(DetectionData):
    """Images with one XML file each; a subclass says which are in a split, and the class names.

    VOC counts pixels from 1 and includes the last: (xmin, ymin, xmax, ymax) becomes the continuous box
    (xmin - 1, ymin - 1, xmax, ymax), as in detectron2, so that IoU has the devkit's "+ 1" without saying it.
    ``ground_truth`` has these same boxes.

    Args:
        root: folder of the set.
        sizes: see ``DetectionData``.
        keep_difficult: train on difficult objects as on others; otherwise the loss ignores them. Evaluation always
            ignores them.
        **kwargs: the other arguments of ``DetectionData``.
    """

    def __init__(
        self, root: str | Path, sizes: list[tuple[int, int]], keep_difficult: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(root, sizes, **kwargs)
        self.keep_difficult = keep_difficult

    @property
    def category_ids(self) -> list[int]:
        """1..K: VOC has no ids of its own."""
        return list(range(1, len(self.class_names) + 1))

    @abstractmethod
    def entries(self, split: str) -> list[VOCEntry]:
        """List a split; entry i becomes image id i + 1.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.

        Raises:
            DataError: there is no such split, or its list is at fault.
        """

    def read(self, split: str, findings: Findings) -> list[Record]:
        """Read a split's XML files and the headers of its images.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            findings: takes what is wrong.
        """
        records = []
        for image_id, (files, name) in enumerate(self.entries(split), 1):
            image, annotation = files.images.get(name), files.annotations.get(name)
            if image is None:
                entry = (
                    "the XML file"
                    if files.image_sets is None
                    else f"the name from the {split} list (one name a line, no suffix, no second column)"
                )
                findings.error(f"{annotation or name}: there is no image {name}.*; add it, or remove {entry}")
            elif annotation is None:
                findings.error(f"{image}: there is no {name}.xml; add it (without <object> where there is none)")
            else:
                records.append(self._record(image_id, image, annotation, findings))
        return records

    def _record(self, image_id: int, image: Path, path: Path, findings: Findings) -> Record:
        annotation = read_annotation(path, findings)
        size = _real_size(image, annotation)
        if annotation.size not in (None, size):
            findings.error(
                f"{path}: its <size> says (height, width) = {annotation.size}, but {image.name} has {size}; scale the boxes "
                "along with the image, or correct or remove <size>"
            )
        kept: list[tuple[VOCObject, np.ndarray]] = []
        for found in annotation.objects:
            if found.name not in self.class_names:
                findings.error(f"{path}: unknown class {found.name!r}; expected one of {self.class_names}")
                continue
            box = _clipped(found, size, path, findings)
            if box is not None:
                kept.append((found, box))
        return self._to_record(image_id, image, size, kept)

    def _to_record(
        self, image_id: int, image: Path, size: Size, objects: Sequence[tuple[VOCObject, np.ndarray]]
    ) -> Record:
        boxes = np.array([box for _, box in objects], np.float64).reshape(-1, 4)
        difficult = np.array([found.difficult for found, _ in objects], bool)
        return Record(
            image_id=image_id,
            path=image,
            height=size[0],
            width=size[1],
            boxes=boxes,
            labels=np.array([self.class_names.index(found.name) for found, _ in objects], np.int64),
            difficult=difficult,
            crowd=np.zeros(len(objects), bool),
            area=(boxes[:, 2:] - boxes[:, :2]).prod(1),
            ignore=difficult & (not self.keep_difficult),
            name=image.name,
        )


def _real_size(image: Path, annotation: VOCAnnotation) -> Size:
    try:
        return image_size(image)
    except ImageError:  # met again where the image is read: an error in evaluation, a replacement in training
        extent = np.array([found.box for found in annotation.objects] or [(1, 1, 1, 1)])[:, 2:].max(0).clip(1)
        return annotation.size or (int(extent[1]), int(extent[0]))


def _clipped(found: VOCObject, size: Size, path: Path, findings: Findings) -> np.ndarray | None:
    height, width = size
    box = np.array(found.box) - (1, 1, 0, 0)
    clipped = box.clip(0, (width, height, width, height))
    if not (clipped[2:] > clipped[:2]).all():
        findings.error(f"{path}: the {found.name} box {found.box} is outside the {width}x{height} image; correct it")
        return None
    if (clipped != box).any():
        findings.warning(f"{path}: the {found.name} box {found.box} reaches beyond the {width}x{height} image; clipped")
    return clipped
