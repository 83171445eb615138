"""Writes a generated set in VOC's layout."""

import json
import shutil
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bnn_tasks.data.findings import DataError
from bnn_tasks.data.synthetic.scenes import SceneObject, scene
from bnn_tasks.data.synthetic.shapes import SHAPES
from bnn_tasks.runtime.images import Size

DEFAULT_CLASSES = ("circle", "square", "triangle")
SETTINGS = "synthetic.json"
VERSION = 1  # of the pictures; raised whenever the same seed would draw others
TURN = ("train", "train", "train", "val", "test")  # image i belongs to TURN[i % 5]
SMALLEST_SIDE = 32


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
    if len(size) != 2 or min(size) < SMALLEST_SIDE:
        raise ValueError(f"Expected `size` to be (height, width), each at least {SMALLEST_SIDE}, but got {size}")
    if seed < 0:
        raise ValueError(f"Expected `seed` to be at least 0, but got {seed}")
    if not classes or len(set(classes)) < len(classes) or not set(classes) <= set(SHAPES):
        raise ValueError(f"Expected `classes` to be some of {sorted(SHAPES)}, but got {classes}")
    height, width = size
    settings = {"version": VERSION, "images": images, "size": [height, width], "seed": seed, "classes": list(classes)}
    if _is_there(root, settings):
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        work.chmod(0o755)  # mkdtemp's folder is private
        _write(work, images, size, seed, classes)
        (work / SETTINGS).write_text(json.dumps(settings) + "\n", "utf-8")
        work.rename(root)
    except OSError:
        if not _is_there(root, settings):  # else another process was faster
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _is_there(root: Path, settings: dict[str, Any]) -> bool:
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = json.loads((root / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if found != settings:
        raise DataError(
            f"{root}: holds something else ({found or 'no generated set'}); delete it or choose another root"
        )
    return True


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
