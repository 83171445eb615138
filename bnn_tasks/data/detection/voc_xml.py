"""What one VOC annotation file says."""

import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from bnn_tasks.data.findings import Findings
from bnn_tasks.runtime.images import Size

MAX_XML_BYTES = 10 * 2**20  # a VOC file has a few kB


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
