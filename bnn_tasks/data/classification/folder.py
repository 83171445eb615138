"""Classification sets as a folder a class."""

import logging
from functools import cached_property
from pathlib import Path
from typing import Any

from bnn_tasks.data.classification.base import ClassificationData
from bnn_tasks.data.classification.files import Files, find_files, is_picture
from bnn_tasks.data.classification.pictures import Pictures, Sample
from bnn_tasks.data.findings import DataError, Findings
from bnn_tasks.data.module import SPLITS
from bnn_tasks.data.named import VAL_STRIDE, check_class_names, check_split_keys, split_by_position, split_spellings
from bnn_tasks.runtime.images import Size

log = logging.getLogger(__name__)

SHOWN = 20  # folders in a message
EXPECTED = "expected train/<class>/ and, where there are, val/<class>/ and test/<class>/, or <class>/ alone"


class ImageFolderData(ClassificationData):
    """Pictures in ``train/<class>/``, ``val/<class>/`` and ``test/<class>/``: ImageNet's layout.

    Pictures may lie in folders below their class's. Without split folders, every fifth picture of each ``<class>/`` by
    name is val, the others are train, and test is val. Where one folder holds all pictures, it is skipped.

    Args:
        root: folder of the set, or a .zip of one, which is read where it is.
        size: see ``ClassificationData``.
        splits: which folder is which of "train", "val" and "test"; those left out have their own name as folder. A folder
            named here must be there.
        classes: names in label order; by default the sorted names of the train split's folders.
        **kwargs: the other arguments of ``ClassificationData``.

    Raises:
        ValueError: an unknown split, or classes that are empty or not unique.
    """

    def __init__(
        self,
        root: str | Path,
        size: Size,
        splits: dict[str, str] | None = None,
        classes: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, size, **kwargs)
        check_split_keys(splits or {})
        if classes is not None:
            check_class_names(classes)
        self.splits = {split: split for split in SPLITS} | (splits or {})
        self._named = dict(splits or {})
        self._classes = classes

    @cached_property
    def _files(self) -> Files:
        return find_files(self.root, self._tops)

    @property
    def _tops(self) -> set[str]:
        """Folders of the first level that are splits, or hold them."""
        return {folder.partition("/")[0] for folder in self.splits.values()}

    @cached_property
    def _split_folders(self) -> set[str]:
        """Splits that have a folder; none in a set of class folders alone."""
        there = set(self._files.folders)
        if missing := [f"{split}: {folder}" for split, folder in self._named.items() if folder not in there]:
            raise DataError(
                f"{self.root}: `splits` names folders that are not there, {', '.join(missing)}; there are "
                f"{self._class_folders('')[:SHOWN] or 'none'}. Cure: name one of these, or leave the split out"
            )
        found = {split for split, folder in self.splits.items() if folder in there}
        if not found:
            self._refuse_other_spellings()
            log.info(
                "%s: no split folders, so every fifth picture of each class by name is val, the others train", self.root
            )
        return found

    def _refuse_other_spellings(self) -> None:
        """Raise where class folders are splits by another name; a class may be called Train, but it holds no folders."""
        tops = self._class_folders("")
        found = split_spellings(tops)
        if found and (len(found) == len(tops) or any(self._class_folders(folder) for folder in found.values())):
            cure = ", ".join(f"{split}: {folder}" for split, folder in found.items())
            raise DataError(
                f"{self.root}: {', '.join(found.values())} would be classes, but look like splits; {EXPECTED}. Cure: "
                f"splits: {{{cure}}}"
            )

    @property
    def class_names(self) -> list[str]:
        """The class names in label order: as given, or the sorted names of the train split's folders."""
        if self._classes is None:
            folder = self.splits["train"] if self._split_folders else ""
            self._classes = [path.rpartition("/")[2] for path in self._class_folders(folder)]
            if not self._classes:
                raise DataError(f"{self.root}: there are no class folders in {folder or 'it'}; {EXPECTED}")
        return self._classes

    def own_splits(self) -> set[str]:
        """Return which splits have a folder; train and val in a set of class folders alone."""
        return self._split_folders or {"train", "val"}

    def read(self, split: str, findings: Findings) -> Pictures:
        """List a split's files.

        Args:
            split: one of ``own_splits()``.
            findings: takes what is wrong.
        """
        folder = self.splits[split] if self._split_folders else ""
        members = self._members(folder, findings)
        if split == "train" and self._split_folders:
            self._report_unused(findings)
        for name in sorted(members.keys() - set(self.class_names)):
            findings.error(
                f"{self.root}: the class folder {name!r} in {split} is none of the {len(self.class_names)} classes; "
                "rename or remove it, or add the class to train"
            )
        samples: list[Sample] = []
        for label, name in enumerate(self.class_names):
            names = members.get(name, [])
            if not self._split_folders:
                names = dict(zip(("train", "val"), split_by_position(names)))[split]
            if not names:
                self._report_empty(split, name, findings)
            samples += [Sample(name, label) for name in names]
        if not samples and not self._split_folders:
            raise DataError(
                f"{self.root}: too few pictures to split; give at least {VAL_STRIDE} of a class, or {EXPECTED}"
            )
        return Pictures(samples, self._files)

    def _report_empty(self, split: str, name: str, findings: Findings) -> None:
        if split == "train":
            findings.error(f"{self.root}: class {name!r} has no pictures in train; add some, or remove its folder")
        else:
            findings.warning(f"{self.root}: class {name!r} has no pictures in {split}, so nothing there tests it")

    def _report_unused(self, findings: Findings) -> None:
        tops = {path for path in self._files.folders if "/" not in path}
        if unused := sorted(tops - self._tops):
            findings.warning(
                f"{self.root}: no split is made of {', '.join(unused)}; name it in `splits` where it is one"
            )

    def _class_folders(self, folder: str) -> list[str]:
        return [path for path in self._files.folders if path.rpartition("/")[0] == folder]

    def _members(self, folder: str, findings: Findings) -> dict[str, list[str]]:
        """The names of each class's pictures, sorted."""
        members: dict[str, list[str]] = {path.rpartition("/")[2]: [] for path in self._class_folders(folder)}
        start = f"{folder}/" if folder else ""
        for name in self._files.names:
            if not name.startswith(start):
                continue
            head, inside, _ = name.removeprefix(start).partition("/")
            if not is_picture(name):
                findings.warning(f"{self.root}: {name}: not a picture of a known kind; left out")
            elif not inside:
                findings.error(f"{self.root}: {name}: a picture outside the class folders; move it into one")
            else:
                members[head].append(name)
        return members
