"""Writes a generated set in VOC's layout."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bnn_tasks.data.synthetic.once import DEFAULT_CLASSES, TURN, check_settings, write_once
from bnn_tasks.data.synthetic.scenes import SceneObject, scene
from bnn_tasks.runtime.images import Size

VERSION = 1  # of the pictures; raised whenever the same seed would draw others


def generate(
    root: str | Path,
    images: int = 600,
    size: Size = (240, 320),
    seed: int = 0,
    classes: Sequence[str] = DEFAULT_CLASSES,
) -> None:
    """Draw a detection set: JPEGImages/, Annotations/, ImageSets/Main/{train,val,test}.txt in shares 3 : 1 : 1.

    The folder appears complete or not at all. Image i depends on ``seed`` and i alone: a larger set begins with the
    smaller one, and one version of Pillow and numpy writes the same bytes again. Where ``root`` already holds the
    set of these very arguments, nothing is done.

    Args:
        root: folder to make; it may exist when it is empty.
        images: at least 5.
        size: (height, width) in pixels, each at least 32.
        seed: >= 0.
        classes: keys of ``SHAPES``, without repetition.

    Raises:
        ValueError: a value out of its range.
        DataError: ``root`` holds something else.
    """
    root = Path(root)
    if images < len(TURN):
        raise ValueError(f"Expected `images` to be at least {len(TURN)}, one for each turn, but got {images}")
    check_settings(size, seed, classes)
    height, width = size
    settings = {"version": VERSION, "images": images, "size": [height, width], "seed": seed, "classes": list(classes)}
    write_once(root, settings, lambda folder: _write(folder, images, size, seed, classes))


def _write(root: Path, images: int, size: Size, seed: int, classes: Sequence[str]) -> None:
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    lists: dict[str, list[str]] = {split: [] for split in TURN}
    for i in range(images):
        name = f"{i:06d}"
        image, objects = scene(np.random.default_rng([seed, i]), *size, classes)
        image.save(root / "JPEGImages" / f"{name}.jpg", quality=95, subsampling=0)
        _annotation(f"{name}.jpg", image.size, objects).write(root / "Annotations" / f"{name}.xml", encoding="utf-8")
        lists[TURN[i % len(TURN)]].append(name)
    for split, names in lists.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")


def _annotation(file_name: str, size: tuple[int, int], objects: Sequence[SceneObject]) -> "ET.ElementTree[ET.Element]":
    root = ET.Element("annotation")
    ET.SubElement(root, "filename").text = file_name
    _fields(ET.SubElement(root, "size"), width=size[0], height=size[1], depth=3)
    for found in objects:
        element = ET.SubElement(root, "object")
        _fields(element, name=found.name, difficult=int(found.difficult))
        x0, y0, x1, y1 = found.box
        _fields(ET.SubElement(element, "bndbox"), xmin=x0 + 1, ymin=y0 + 1, xmax=x1, ymax=y1)  # VOC counts from 1
    ET.indent(root)
    return ET.ElementTree(root)


def _fields(parent: ET.Element, **values: str | int) -> None:
    for tag, value in values.items():
        ET.SubElement(parent, tag).text = str(value)
