"""One folder in PASCAL VOC's layout."""

import logging
from functools import cached_property
from pathlib import Path
from typing import Any

from bnn_tasks.data.detection.voc_layout import VOCEntry, VOCLayoutData
from bnn_tasks.data.detection.voc_xml import read_annotation
from bnn_tasks.data.findings import DataError, Findings
from bnn_tasks.data.module import SPLITS
from bnn_tasks.data.named import check_class_names, check_split_keys
from bnn_tasks.data.voc_files import VOCFiles

log = logging.getLogger(__name__)


class VOCDetectionData(VOCLayoutData):
    """One folder of images with one XML file each: one year of VOC, or anybody's own set.

    Accepted below ``root``: ``JPEGImages/`` with ``Annotations/``, ``images/`` with ``annotations/``, or images and
    XML files side by side. Split lists are ``ImageSets/Main/<name>.txt``, one image name a line without suffix.
    Without ``ImageSets/Main`` every fifth of the sorted names is val, the others are train, and test is val.

    Args:
        root: folder of the set.
        sizes: see ``DetectionData``.
        splits: which list is which of "train", "val" and "test"; those left out have their own name as list.
        classes: names in label order; by default the sorted names in the annotations of all splits.
        **kwargs: the other arguments of ``VOCLayoutData``.

    Raises:
        ValueError: an unknown split, or classes that are empty or not unique.
    """

    def __init__(
        self,
        root: str | Path,
        sizes: list[tuple[int, int]],
        splits: dict[str, str] | None = None,
        classes: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, sizes, **kwargs)
        check_split_keys(splits or {})
        if classes is not None:
            check_class_names(classes)
        self.splits = {split: split for split in SPLITS} | (splits or {})
        self._classes = classes

    @property
    def class_names(self) -> list[str]:
        """The class names in label order: as given, or the sorted names in the annotations of all splits."""
        if self._classes is None:
            self._classes = self._seen_classes()
        return self._classes

    @cached_property
    def _files(self) -> VOCFiles:
        files = VOCFiles.find(self.root)
        if files.image_sets is None:
            log.info(
                "%s: no ImageSets/Main, so every fifth picture by name is the val split, the others train", self.root
            )
        return files

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

    def entries(self, split: str) -> list[VOCEntry]:
        """List a split, sorted by name.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.

        Raises:
            DataError: there is no such split, or its list is at fault.
        """
        return [VOCEntry(self._files, name) for name in self._names(split)]
