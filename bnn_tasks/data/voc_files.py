"""Which files make up a set in VOC layout, and what one annotation file says."""

import math
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bnn_tasks.data.findings import DataError, Findings
from bnn_tasks.runtime.images import Size

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
FOLDERS = (("JPEGImages", "Annotations"), ("images", "annotations"), ("", ""))
MAX_XML_BYTES = 10 * 2**20  # a VOC file has a few kB
VAL_STRIDE = 5


@dataclass(frozen=True)
class VOCFiles:
    """The files of a set, by name without suffix.

    Attributes:
        images: picture files.
        annotations: XML files.
        image_sets: ``ImageSets/Main``, None where there is none.
    """

    images: dict[str, Path]
    annotations: dict[str, Path]
    image_sets: Path | None

    @classmethod
    def find(cls, root: Path) -> "VOCFiles":
        """List a set's files, in the first of ``FOLDERS`` that exists below ``root``.

        Args:
            root: folder of the set.

        Raises:
            DataError: no such folder, no files in it, or two pictures of one name.
        """
        if not root.is_dir():
            raise DataError(f"{root}: no such folder; set `root` to the data set's folder")
        pairs = [(root / images, root / annotations) for images, annotations in FOLDERS]
        for images, annotations in pairs:
            if images.is_dir() and annotations.is_dir():
                image_sets = root / "ImageSets" / "Main"
                files = cls(
                    _by_stem(images, IMAGE_SUFFIXES),
                    _by_stem(annotations, {".xml"}),
                    image_sets if image_sets.is_dir() else None,
                )
                break
        if not files.images and not files.annotations:
            raise DataError(
                f"{root}: found neither images nor XML files; expected JPEGImages/ and Annotations/, "
                "images/ and annotations/, or both kinds of file side by side"
            )
        return files

    def names(self, split: str) -> list[str]:
        """Return a split's image names, sorted.

        With ``ImageSets/Main`` they are the lines of ``<split>.txt``. Without it every fifth of the sorted names is
        "val" and the others are "train".

        Args:
            split: name of a list in ``ImageSets/Main``, or "train" or "val".

        Raises:
            DataError: no such split, an empty one, or a name twice in it.
        """
        if self.image_sets is None:
            return self._names_by_position(split)
        path = self.image_sets / f"{split}.txt"
        if not path.is_file():
            raise DataError(f"{path}: no such split; there are {sorted(p.stem for p in self.image_sets.glob('*.txt'))}")
        names = sorted(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
        if not names:
            raise DataError(f"{path}: the split is empty; list one image name a line, without suffix")
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise DataError(f"{path}: listed more than once: {', '.join(twice)}; keep one line of each")
        return names

    def _names_by_position(self, split: str) -> list[str]:
        names = sorted({*self.images, *self.annotations})
        held_out = names[VAL_STRIDE - 1 :: VAL_STRIDE]
        splits = {"train": [name for name in names if name not in set(held_out)], "val": held_out}
        if split not in splits:
            raise DataError(f"Expected split 'train' or 'val' of a set without ImageSets/Main, but got {split!r}")
        if not held_out:
            raise DataError(f"{len(names)} images are too few to split; give at least {VAL_STRIDE}, or ImageSets/Main")
        return splits[split]


def _by_stem(folder: Path, suffixes: set[str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and path.is_file():
            if path.stem in files:
                raise DataError(f"{path}: has the same name as {files[path.stem].name}; rename one of them")
            files[path.stem] = path
    return files


@dataclass(frozen=True)
class VOCObject:
    """One ``<object>``.

    Attributes:
        name: of the class.
        box: xyxy as the file says it: pixels counted from 1, last ones included.
        difficult: the file's flag.
    """

    name: str
    box: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True)
class VOCAnnotation:
    """One XML file.

    Attributes:
        size: (height, width) as the file says it; None where it does not.
        objects: in the order of the file; none is legal.
    """

    size: Size | None
    objects: list[VOCObject]


class _Builder(ET.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ET.ParseError("it has a DOCTYPE, which VOC files do not need and entity bombs do")


def read_annotation(path: Path, findings: Findings) -> VOCAnnotation:
    """Parse one VOC XML file.

    Args:
        path: of the file.
        findings: takes what is wrong; objects at fault are left out.
    """
    if path.stat().st_size > MAX_XML_BYTES:
        findings.error(f"{path}: larger than {MAX_XML_BYTES} bytes; this is no VOC annotation")
        return VOCAnnotation(None, [])
    try:
        root = ET.parse(path, ET.XMLParser(target=_Builder())).getroot()
    except (ET.ParseError, ValueError, LookupError) as error:  # the last two: bytes not of the declared encoding
        findings.error(f"{path}: not readable as XML ({error}); write it again")
        return VOCAnnotation(None, [])
    if root.tag != "annotation":
        findings.error(f"{path}: expected the root element to be <annotation>, but got <{root.tag}>")
        return VOCAnnotation(None, [])
    objects = []
    for position, element in enumerate(root.findall("object"), 1):
        try:
            objects.append(_read_object(element))
        except ValueError as error:
            findings.error(f"{path}: object {position}: {error}")
    return VOCAnnotation(_read_size(root), objects)


def _read_object(element: ET.Element) -> VOCObject:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise ValueError("it has no <name>; add one or remove the object")
    box = element.find("bndbox")
    if box is None:
        raise ValueError(f"{name} has no <bndbox>; add one or remove the object")
    x0, y0, x1, y1 = values = tuple(_number(box, tag) for tag in ("xmin", "ymin", "xmax", "ymax"))
    if x1 < x0 or y1 < y0:  # equal is one pixel, since the last one is included
        raise ValueError(f"{name} has the box {values} with xmax < xmin or ymax < ymin; swap them or remove the object")
    difficult = (element.findtext("difficult") or "0").strip()
    if difficult not in ("0", "1"):
        raise ValueError(f"expected <difficult> of {name} to be 0 or 1, but got {difficult!r}")
    return VOCObject(name, (x0, y0, x1, y1), difficult == "1")


def _number(box: ET.Element, tag: str) -> float:
    text = box.findtext(tag)
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"expected <{tag}> to be a finite number, but got {text!r}; correct the box")
    return value


def _read_size(root: ET.Element) -> Size | None:
    try:
        size = int(root.findtext("size/height") or ""), int(root.findtext("size/width") or "")
    except ValueError:
        return None
    return size if min(size) > 0 else None
