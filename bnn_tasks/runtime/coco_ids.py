"""Category and image ids of a COCO file, for predictions that are scored against it."""

import json
import logging
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NAMED = 5  # names that a message lists

_log = logging.getLogger(__name__)


def coco_ids(path: Path, classes: Sequence[str], pictures: Sequence[str]) -> tuple[list[int], list[int | None]]:
    """Ids of classes and pictures by their names.

    Warns of pictures that the file lacks, and of images of the file that are not among the pictures.

    Args:
        path: of a JSON file with COCO's ``categories`` and ``images``; it needs no ``annotations``.
        classes: names by label.
        pictures: names, relative to the folder that the file's are below; an ä may be one character or two.

    Returns:
        The category id of each class, and the image id of each picture, None of one that the file lacks.

    Raises:
        ValueError: no such file, or none of COCO's; it gives a name or an id twice; it lacks a class, or every picture; or
            two pictures are the same image of it.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"Expected {str(path)!r} to be a COCO file, but got {error}. Cure: another file.") from error
    categories, images = _ids(content, "categories", "name", path), _ids(content, "images", "file_name", path)
    if lacking := [name for name in classes if name not in categories]:
        raise ValueError(
            f"Expected {str(path)!r} to have all classes of the net, but it lacks {_listed(lacking)}; it has "
            f"{_listed(list(categories))}. Cure: the file of the net's own classes."
        )
    numbers = [_image_id(images, name) for name in pictures]
    unknown = [name for name, number in zip(pictures, numbers) if number is None]
    advice = "names are taken to be below the folder that is given"
    if len(unknown) == len(pictures):
        raise ValueError(
            f"Expected pictures of {str(path)!r}, but it has none of {_listed(unknown)}; {advice}. Cure: that folder."
        )
    counts = Counter(numbers)
    if twice := [name for name, number in zip(pictures, numbers) if number is not None and counts[number] > 1]:
        raise ValueError(
            f"Expected one picture for each image of {str(path)!r}, but got several for {_listed(twice)}. Cure: give only "
            "the folder that the file's names are below."
        )
    if unknown:
        _log.warning("%s: %d picture(s) left out, not in it: %s; %s", path, len(unknown), _listed(unknown), advice)
    if absent := [name for name, number in images.items() if number not in counts]:
        _log.warning("%s: %d of its images are not among the pictures: %s", path, len(absent), _listed(absent))
    return [categories[name] for name in classes], numbers


def _ids(content: Any, kind: str, key: str, path: Path) -> dict[str, int]:
    """Ids of the entries by their names."""
    entries = content.get(kind) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise ValueError(f"Expected {str(path)!r} to be a COCO file, but it has no list {kind!r}. Cure: another file.")
    ids: dict[str, int] = {}
    for position, entry in enumerate(entries):
        name, id_ = (entry.get(key), entry.get("id")) if isinstance(entry, dict) else (None, None)
        if not isinstance(name, str) or type(id_) is not int or name in ids:
            raise ValueError(
                f"Expected {kind} of {str(path)!r} to have an integer `id` and a text `{key}` of their own, but got "
                f"`id` {id_!r} and `{key}` {name!r} at position {position}. Cure: correct the entry."
            )
        ids[name] = id_
    if len(set(ids.values())) < len(ids):
        raise ValueError(f"Expected {kind} of {str(path)!r} to have ids of their own. Cure: give each its own `id`.")
    return ids


def _image_id(images: dict[str, int], name: str) -> int | None:
    forms = (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))  # NFD: macOS writes ä so
    return next((images[form] for form in forms if form in images), None)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(repr, names[:NAMED])) + more
