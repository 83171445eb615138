"""Which mask belongs to which picture."""

from collections.abc import Sequence
from pathlib import Path

from bnn_tasks.data.findings import DataError, Findings
from bnn_tasks.data.segmentation.dataset import SegmentationRecord
from bnn_tasks.runtime.images import ImageError, image_size


def files_by_name(folder: Path, suffixes: set[str], end: str = "") -> dict[str, Path]:
    """List a folder's files, those of folders below it too, by name: the path below the folder without suffix and ending.

    Args:
        folder: to look in.
        suffixes: of the files that count, lower case.
        end: last part of the stem of the files that count, which is no part of the name, such as ``_labelIds``.

    Returns:
        Sorted by name.

    Raises:
        DataError: no such folder, or two files of one name.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; correct `root`, or where pictures and masks are below it")
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        below = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in below.parts)
        if hidden or path.suffix.lower() not in suffixes or not path.stem.endswith(end) or not path.is_file():
            continue
        name = below.with_suffix("").as_posix().removesuffix(end)
        if name in files:
            raise DataError(f"{path}: has the same name as {files[name].name}; rename one of them")
        files[name] = path
    return files


def pair(
    pictures: dict[str, Path], masks: dict[str, Path], folders: tuple[Path, Path], findings: Findings
) -> list[SegmentationRecord]:
    """Join pictures and masks of one name.

    Args:
        pictures: files by name.
        masks: files by name.
        folders: of the pictures and of the masks, for messages.
        findings: takes what has no partner.

    Returns:
        Sorted by name.
    """
    for name in sorted(set(masks) - set(pictures)):
        findings.error(f"{masks[name]}: there is no picture {name}.* in {folders[0]}; add it, or remove the mask")
    records = []
    for name in sorted(pictures):
        if name in masks:
            records.append(record(pictures[name], masks[name], name + pictures[name].suffix))
        else:
            findings.error(
                f"{pictures[name]}: there is no mask {name}.* in {folders[1]}; add it (all void where nothing is known), or "
                "remove the picture"
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
