"""Which mask belongs to which picture."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bnn_tasks.data.findings import DataError, Findings
from bnn_tasks.data.segmentation.dataset import SegmentationRecord
from bnn_tasks.runtime.images import ImageError, image_files, image_size


class Place(NamedTuple):
    """Where files of one kind are: in a folder and the folders below it.

    A file's name is its path below the folder, without suffix and ending, in Unicode's composed form (NFC).

    Attributes:
        folder: to look in.
        suffixes: of the files that count, lower case.
        end: last part of the stem of the files that count, which is no part of the name, such as ``_labelIds``.
    """

    folder: Path
    suffixes: set[str]
    end: str = ""

    def files(self) -> dict[str, Path]:
        """List the files by name, sorted.

        Raises:
            DataError: no such folder, or two files of one name.
        """
        if not self.folder.is_dir():
            raise DataError(f"{self.folder}: no such folder; correct `root`, or where pictures and masks are below it")
        files: dict[str, Path] = {}
        for path in image_files(self.folder, self.suffixes):
            if not path.stem.endswith(self.end):
                continue
            below = path.relative_to(self.folder).with_suffix("").as_posix().removesuffix(self.end)
            name = unicodedata.normalize("NFC", below)  # macOS writes ä as two characters
            if name in files:
                raise DataError(f"{path}: has the same name as {files[name].name}; rename one of them")
            files[name] = path
        return files

    def wanted(self, name: str) -> str:
        """Say which file is looked for, and where.

        Args:
            name: of the file.
        """
        return f"{name}{self.end}.* in {self.folder} ({', '.join(sorted(self.suffixes))} count)"


def pair(
    pictures: dict[str, Path], masks: dict[str, Path], places: tuple[Place, Place], findings: Findings
) -> list[SegmentationRecord]:
    """Join pictures and masks of one name.

    Args:
        pictures: files by name.
        masks: files by name.
        places: where the pictures and the masks were looked for, for messages.
        findings: takes what has no partner.

    Returns:
        Sorted by name.
    """
    for name in sorted(set(masks) - set(pictures)):
        findings.error(f"{masks[name]}: there is no picture {places[0].wanted(name)}; add it, or remove the mask")
    records = []
    for name in sorted(pictures):
        if name in masks:
            records.append(record(pictures[name], masks[name], name + pictures[name].suffix))
        else:
            findings.error(
                f"{pictures[name]}: there is no mask {places[1].wanted(name)}; add it (all void where nothing is known), "
                "or remove the picture"
            )
    return records


def record(picture: Path, mask: Path, name: str) -> SegmentationRecord:
    """Join a picture and a mask, with the size that the picture's header gives.

    Args:
        picture: its file.
        mask: what ``MaskCoding.read`` takes.
        name: of the picture, below the folder of the pictures.
    """
    try:
        height, width = image_size(picture)
    except ImageError:  # met again where the picture is read: an error in evaluation, a replacement in training
        height, width = 1, 1
    return SegmentationRecord(picture, mask, height, width, name)


def chosen(names: Sequence[str], files: dict[str, Path]) -> dict[str, Path]:
    """Keep the files of some names.

    Args:
        names: wanted; those without a file are left out.
        files: by name.
    """
    return {name: files[name] for name in names if name in files}
