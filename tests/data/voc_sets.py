"""Writes tiny data sets for the tests."""

import json

import numpy as np
from PIL import Image

OBJECT = "<object><name>{}</name><difficult>{}</difficult>{}</object>"
BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"


def voc_xml(objects=(), size=(48, 64)):
    """``objects``: (name, (xmin, ymin, xmax, ymax)) or (name, box, difficult)."""
    body = "".join(OBJECT.format(o[0], o[2] if len(o) > 2 else 0, BOX.format(*o[1])) for o in objects)
    shape = f"<size><width>{size[1]}</width><height>{size[0]}</height></size>" if size else ""
    return f"<annotation>{shape}{body}</annotation>"


def picture(seed=0, size=(48, 64)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8))


def write_image(path, seed=0, size=(48, 64)):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed, size).save(path)
    return path


def write_voc(
    root, names="abcde", objects=(("cat", (1, 1, 20, 30)),), splits=None, folders=("JPEGImages", "Annotations")
):
    """Every image has the same objects; ``splits``: {"train": "abc"}; None writes no lists."""
    for seed, name in enumerate(names):
        write_image(root / folders[0] / f"{name}.png", seed)
        write_xml(root, name, voc_xml(objects), folders[1])
    for split, members in (splits or {}).items():
        path = root / "ImageSets" / "Main" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(members))
    return root


def write_xml(root, name, text, folder="Annotations"):
    path = root / folder / f"{name}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def coco_content(**changes):
    """Two images; categories 3 and 7; image 20 has a crowd, image 10 has a cat and a dog."""
    content = {
        "images": [
            {"id": 20, "file_name": "b.png", "height": 48, "width": 64},
            {"id": 10, "file_name": "a.png", "height": 48, "width": 64},
        ],
        "annotations": [
            {"id": 1, "image_id": 10, "category_id": 7, "bbox": [1.5, 2, 10, 20], "area": 120.5, "iscrowd": 0},
            {"id": 2, "image_id": 10, "category_id": 3, "bbox": [30, 2, 10, 20], "iscrowd": 0},
            {"id": 3, "image_id": 20, "category_id": 3, "bbox": [0, 0, 64, 48], "area": 900, "iscrowd": 1},
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    }
    content.update(changes)
    return content


def write_coco(root, train=None, val=None):
    for split, content in (("train", train or coco_content()), ("val", val or coco_content())):
        for seed, name in enumerate("ab"):
            write_image(root / f"{split}2017" / f"{name}.png", seed)
        path = root / "annotations" / f"instances_{split}2017.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return root
