"""The pictures that a COCO instances file names."""

import unicodedata
from pathlib import Path

from bnn_tasks.data.coco_file import COCO_SOURCE, CocoFile
from bnn_tasks.data.findings import DataError, Findings
from bnn_tasks.runtime.images import ImageError, Size, image_size, is_turned

NAMED_MISSING = 5


def find_pictures(file: CocoFile, path: Path, folder: Path, findings: Findings) -> dict[int, Path]:
    """Find the pictures of an instances file, and compare their headers with their entries.

    Args:
        file: what the file says.
        path: of the file, for messages.
        folder: that the file's names are below.
        findings: takes pictures that are missing, or of another size than their entry; they are left out.

    Returns:
        The picture's file by image id, in the order of ``file.images``.

    Raises:
        DataError: no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such image folder; correct `images`; {COCO_SOURCE}")
    found: dict[int, Path] = {}
    missing = []
    for image in file.images.values():
        picture = _present(folder, image.file_name)
        if picture is None:
            missing.append(image.file_name)
        elif fault := _size_fault(picture, (image.height, image.width)):
            findings.error(f"{path}: {fault}")
        else:
            found[image.id] = picture
    if missing:
        named = ", ".join(missing[:NAMED_MISSING])
        more = f" and {len(missing) - NAMED_MISSING} more" if len(missing) > NAMED_MISSING else ""
        findings.error(
            f"{path}: {len(missing)} images are not in {folder}: {named}{more}; add them or remove their entries"
        )
    return found


def _present(folder: Path, name: str) -> Path | None:
    forms = (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))  # NFD: macOS writes ä so
    return next((folder / form for form in forms if (folder / form).is_file()), None)


def _size_fault(picture: Path, size: Size) -> str | None:
    """Say that a picture has another size than its entry."""
    try:
        found = image_size(picture)
    except ImageError:  # met again where the picture is read: an error in evaluation, a replacement in training
        return None
    if found == size:
        return None
    turned = ", its EXIF orientation applied" if is_turned(picture) else ""
    return (
        f"the entry of {picture.name} says {size[1]}x{size[0]} pixels, but {picture} is {found[1]}x{found[0]}{turned}; correct "
        "the entry, and its objects with it"
    )
