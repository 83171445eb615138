"""Detection sets in PASCAL VOC's format."""

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bnn_tasks.data.base import DetectionData
from bnn_tasks.data.dataset import Record
from bnn_tasks.data.findings import DataError, Findings
from bnn_tasks.data.module import SPLITS
from bnn_tasks.data.voc_files import VOCFiles
from bnn_tasks.data.voc_xml import VOCAnnotation, VOCObject, read_annotation
from bnn_tasks.runtime.images import ImageError, Size, image_size

log = logging.getLogger(__name__)


class VOCDetectionData(DetectionData):
    """Images with one XML file each.

    Accepted below ``root``: ``JPEGImages/`` with ``Annotations/``, ``images/`` with ``annotations/``, or images and
    XML files side by side. Split lists are ``ImageSets/Main/<name>.txt``, one image name a line without suffix.
    Without ``ImageSets/Main`` every fifth of the sorted names is val, the others are train, and test is val.

    VOC counts pixels from 1 and includes the last: (xmin, ymin, xmax, ymax) becomes the continuous box
    (xmin - 1, ymin - 1, xmax, ymax), as in detectron2, so that IoU has the devkit's "+ 1" without saying it.
    ``ground_truth`` has these same boxes.

    Args:
        root: folder of the set.
        sizes: see ``DetectionData``.
        splits: which list is which of "train", "val" and "test"; those left out have their own name as list.
        classes: names in label order; by default the sorted names in the annotations of all splits.
        keep_difficult: train on difficult objects as on others; otherwise the loss ignores them. Evaluation always
            ignores them.
        **kwargs: the other arguments of ``DetectionData``.

    Raises:
        ValueError: an unknown split, or classes that are empty or not unique.
    """

    def __init__(
        self,
        root: str | Path,
        sizes: list[tuple[int, int]],
        splits: dict[str, str] | None = None,
        classes: list[str] | None = None,
        keep_difficult: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, sizes, **kwargs)
        if unknown := set(splits or {}) - set(SPLITS):
            raise ValueError(f"Expected `splits` to have keys of {SPLITS}, but got {sorted(unknown)}")
        if classes is not None and (not classes or len(set(classes)) < len(classes)):
            raise ValueError(f"Expected `classes` to be names without repetition, but got {classes}")
        self.splits = {split: split for split in SPLITS} | (splits or {})
        self.keep_difficult = keep_difficult
        self._classes = classes

    @property
    def class_names(self) -> list[str]:
        """The class names in label order: as given, or the sorted names in the annotations of all splits."""
        if self._classes is None:
            self._classes = self._seen_classes()
        return self._classes

    @property
    def category_ids(self) -> list[int]:
        """1..K: VOC has no ids of its own."""
        return list(range(1, len(self.class_names) + 1))

    @cached_property
    def _files(self) -> VOCFiles:
        return VOCFiles.find(self.root)

    def _seen_classes(self) -> list[str]:
        names: set[str] = set()
        missing: list[DataError] = []
        for split in SPLITS:
            try:
                names.update(self._names(split))
            except DataError as error:  # a list that this run may not need; reading that split says so
                missing.append(error)
        if not names:
            raise missing[0]
        findings = Findings()  # dropped: `read` reports them again
        paths = [self._files.annotations[name] for name in sorted(names) if name in self._files.annotations]
        classes = sorted({found.name for path in paths for found in read_annotation(path, findings).objects})
        if not classes:
            raise DataError(f"{self.root}: no annotation has an object; set `classes`")
        return classes

    def _names(self, split: str) -> list[str]:
        name = self.splits[split]
        if split == "test" and name == "test" and self._files.image_sets is None:
            log.info("%s: no ImageSets/Main, so the test split is the val split", self.root)
            name = self.splits["val"]
        return self._files.names(name)

    def read(self, split: str, findings: Findings) -> list[Record]:
        """Read a split's XML files and the headers of its images.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            findings: takes what is wrong.
        """
        records = []
        for image_id, name in enumerate(self._names(split), 1):
            image, annotation = self._files.images.get(name), self._files.annotations.get(name)
            if image is None:
                findings.error(
                    f"{annotation or name}: there is no image {name}.*; add it, or remove the name from the {split} list "
                    "(one name a line, no suffix, no second column)"
                )
            elif annotation is None:
                findings.error(f"{image}: there is no {name}.xml; add it (without <object> where there is none)")
            else:
                records.append(self._record(image_id, image, annotation, findings))
        return records

    def _record(self, image_id: int, image: Path, path: Path, findings: Findings) -> Record:
        annotation = read_annotation(path, findings)
        size = _real_size(image, annotation)
        if annotation.size not in (None, size):
            findings.warning(
                f"{path}: says (height, width) = {annotation.size}, but the image has {size}, which is used"
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
