"""Reads a COCO instances file into what a detector needs."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bnn_tasks.data.coco_segmentation import all_finite, segmentation_fault
from bnn_tasks.data.findings import DataError, Findings

COCO_SOURCE = (  # torchvision fetches VOC, but not COCO
    "for COCO 2017 itself unpack train2017.zip and val2017.zip of http://images.cocodataset.org/zips/ and "
    "http://images.cocodataset.org/annotations/annotations_trainval2017.zip below `root`"
)


@dataclass(frozen=True)
class CocoObject:
    """One annotation.

    Attributes:
        id: as in the file.
        category: a key of ``CocoFile.categories``.
        box: xyxy, continuous pixels.
        area: square pixels; of the mask where the file says so, else of the box.
        crowd: ``iscrowd``.
        segmentation: as in the file: polygons or run lengths; None where it has none.
    """

    id: int
    category: int
    box: tuple[float, float, float, float]
    area: float
    crowd: bool
    segmentation: Any = None


@dataclass(frozen=True)
class CocoImage:
    """One image and its objects.

    Attributes:
        id: as in the file.
        file_name: below the split's image folder.
        height: pixels.
        width: pixels.
        objects: in the order of the file.
        boxless: those whose box has no area, which no detector can use; a mask may be drawn of them.
    """

    id: int
    file_name: str
    height: int
    width: int
    objects: list[CocoObject] = field(default_factory=list)
    boxless: list[CocoObject] = field(default_factory=list)


@dataclass(frozen=True)
class CocoFile:
    """One instances file.

    Attributes:
        categories: name by id, sorted by id; COCO's ids have gaps.
        images: by id, sorted.
        objects: ids of the annotations.
        file_names: of the images.
    """

    categories: dict[int, str]
    images: dict[int, CocoImage]
    objects: set[int] = field(default_factory=set)
    file_names: set[str] = field(default_factory=set)


class CocoFiles:
    """Instances files of a set, each parsed once until they are forgotten: COCO's largest takes gigabytes and half a minute."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[CocoFile, Findings]] = {}

    def read(self, path: Path, findings: Findings) -> CocoFile:
        """Return what ``read_coco`` gives.

        Args:
            path: of the JSON file.
            findings: takes what is wrong.

        Raises:
            DataError: the file cannot be read as a COCO file at all.
        """
        if path not in self._read:
            found = Findings()
            self._read[path] = read_coco(path, found), found
        file, found = self._read[path]
        for message in found.warnings:
            findings.warning(message)
        for message in found.errors:
            findings.error(message)
        return file

    def forget(self) -> None:
        """Free the memory."""
        self._read.clear()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the files out of what goes to other processes."""
        return {"_read": {}}


def read_coco(path: Path, findings: Findings) -> CocoFile:
    """Read an instances file.

    Args:
        path: of the JSON file.
        findings: takes what is wrong; entries at fault are left out. Boxes without area are left out with a warning;
            an object whose segmentation is no mask stays, with a warning.

    Raises:
        DataError: the file cannot be read as a COCO file at all.
    """
    if not path.is_file():
        there = sorted(file.name for file in path.parent.glob("*.json"))
        raise DataError(
            f"{path}: no such annotation file; correct `annotations` (the folder has {there}); {COCO_SOURCE}"
        )
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable as JSON ({error}); fetch or write it again") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(f"{path}: expected a COCO instances file with a list {key!r}; it has none")
    file = CocoFile({}, {})
    for kind, add in (("categories", _add_category), ("images", _add_image), ("annotations", _add_object)):
        for position, entry in enumerate(content[kind]):
            if not isinstance(entry, dict):
                findings.error(f"{path}: {kind}[{position}]: expected an object, but got {entry!r}")
                continue
            try:
                warning = add(file, entry)
            except ValueError as error:
                findings.error(f"{path}: {kind}[{position}], id {entry.get('id')}: {error}")
                continue
            if warning:
                findings.warning(f"{path}: {kind}[{position}], id {entry.get('id')}: {warning}")
    if not file.categories:
        raise DataError(f"{path}: it has no categories; add them")
    return CocoFile(
        dict(sorted(file.categories.items())), dict(sorted(file.images.items())), file.objects, file.file_names
    )


def _add_category(file: CocoFile, entry: dict[str, Any]) -> str | None:
    id_, name = _integer(entry, "id"), entry.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"expected `name` to be a text, but got {name!r}; correct it")
    if id_ in file.categories or name in file.categories.values():
        raise ValueError(f"a second category of this id or of the name {name!r}; remove one")
    file.categories[id_] = name
    return None


def _add_image(file: CocoFile, entry: dict[str, Any]) -> str | None:
    id_, name = _integer(entry, "id"), entry.get("file_name")
    height, width = _integer(entry, "height", 1), _integer(entry, "width", 1)
    if not isinstance(name, str) or not name:
        raise ValueError(f"expected `file_name` to be a text, but got {name!r}; correct it")
    if id_ in file.images:
        raise ValueError("a second image of this id; give each its own")
    if name in file.file_names:
        raise ValueError(f"a second image of the file {name!r}; remove one, and give its objects the other's id")
    file.file_names.add(name)
    file.images[id_] = CocoImage(id_, name, height, width)
    return None


def _add_object(file: CocoFile, entry: dict[str, Any]) -> str | None:
    id_, image, category = (_integer(entry, key) for key in ("id", "image_id", "category_id"))
    if id_ in file.objects:
        raise ValueError("a second annotation of this id; give each its own")
    if image not in file.images:
        raise ValueError(f"`image_id` {image} is no image of this file; add the image or remove the annotation")
    if category not in file.categories:
        raise ValueError(f"`category_id` {category} is no category of this file; add it or remove the annotation")
    crowd = entry.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise ValueError(f"expected `iscrowd` to be 0 or 1, but got {crowd!r}; correct it")
    values = entry.get("bbox")
    if not isinstance(values, list) or len(values) != 4:
        raise ValueError(f"expected `bbox` to be [x, y, width, height], but got {values!r}; correct it")
    x, y, width, height = (_number("bbox", value) for value in values)
    owner = file.images[image]
    x1, y1 = x + width, y + height
    if width <= 0 or height <= 0:
        owner.boxless.append(CocoObject(id_, category, (x, y, x1, y1), 0.0, bool(crowd), entry.get("segmentation")))
        return f"the box {values} of image {image} has no area; detectors leave the object out"
    if not (min(x1, owner.width) > max(x, 0) and min(y1, owner.height) > max(y, 0)):
        raise ValueError(
            f"the box {values} is outside image {image} of {owner.width}x{owner.height} pixels; correct it"
        )
    area = _number("area", entry.get("area", width * height))
    if area < 0:  # pycocotools would ignore the object in every area range, "all" included
        raise ValueError(f"expected `area` to be at least 0, but got {area}; correct it")
    file.objects.add(id_)
    owner.objects.append(CocoObject(id_, category, (x, y, x1, y1), area, bool(crowd), entry.get("segmentation")))
    return _warning(entry, values, owner)


def _warning(entry: dict[str, Any], values: list[float], owner: CocoImage) -> str | None:
    """What is wrong with an object whose box is used nevertheless."""
    x, y, width, height = values
    if min(x, y) < -1 or x + width > owner.width + 1 or y + height > owner.height + 1:
        return f"the box {values} reaches beyond image {owner.id} of {owner.width}x{owner.height} pixels; training clips it"
    fault = segmentation_fault(entry["segmentation"], (owner.height, owner.width)) if "segmentation" in entry else None
    return fault and f"{fault}; its box is used, but correct it before masks are"


def _integer(entry: dict[str, Any], key: str, least: int = 0) -> int:
    value = entry.get(key)
    if type(value) is not int or value < least:  # bool is an int, but no id
        raise ValueError(f"expected `{key}` to be an integer of at least {least}, but got {value!r}; correct it")
    return value


def _number(key: str, value: Any) -> float:
    if not all_finite([value]):
        raise ValueError(f"expected `{key}` to be finite numbers, but got {value!r}; correct it")
    return float(value)
