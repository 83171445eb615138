"""Writes tiny segmentation sets for the tests."""

import json

import numpy as np
from PIL import Image

SIZE = (6, 8)


def write_picture(path, seed=0, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(path)
    return path


def write_mask(path, values, mode=None):
    """``values``: (h, w) or (h, w, 3) array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(values, np.uint8))
    if mode == "P":
        image = Image.fromarray(np.asarray(values, np.uint8), "L")
        image.putpalette(np.random.default_rng(1).integers(0, 256, 768, np.uint8).tobytes())
    image.save(path)
    return path


def labels(seed, top, size=SIZE, void=255):
    """Random labels 0..top-1 and void."""
    values = np.random.default_rng(seed).integers(0, top + 1, size)
    return np.where(values == top, void, values).astype(np.uint8)


def write_folder(
    root, top=3, splits=(("train", "abcde"), ("val", "fg")), images="images/{}", masks="masks/{}", **options
):
    """Pairs of picture and mask; returns the masks as they were written, by name."""
    written = {}
    for split, names in splits:
        for name in names:
            seed = ord(name)
            write_picture(root / images.format(split) / f"{name}.png", seed)
            written[name] = labels(seed, top, **options)
            write_mask(root / masks.format(split) / f"{name}.png", written[name])
    return written


def write_camvid(root):
    return write_folder(root, 11, images="{}", masks="{}annot", void=11)


def write_voc(root):
    written = {}
    for split, names in (("train", "abcde"), ("val", "fg")):
        for name in names:
            write_picture(root / "JPEGImages" / f"{name}.jpg", ord(name))
            written[name] = labels(ord(name), 21)
            write_mask(root / "SegmentationClass" / f"{name}.png", written[name], "P")
        path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(names))
    return written


def write_cityscapes(root):
    written = {}
    for split, names in (("train", "abcde"), ("val", "fg")):
        for name in names:
            write_picture(root / "leftImg8bit" / split / "ulm" / f"{name}_leftImg8bit.png", ord(name))
            written[name] = np.random.default_rng(ord(name)).integers(0, 34, SIZE).astype(np.uint8)
            write_mask(root / "gtFine" / split / "ulm" / f"{name}_gtFine_labelIds.png", written[name])
            write_mask(root / "gtFine" / split / "ulm" / f"{name}_gtFine_color.png", np.zeros((*SIZE, 3)))
    return written


def write_stuff(root):
    """COCO-Stuff's numbers: ids less one, without the ids that COCO has given up."""
    written = {}
    gone = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}
    numbers = np.array([id_ - 1 for id_ in range(1, 183) if id_ not in gone] + [255])
    for split, names in (("train2017", "abcde"), ("val2017", "fg")):
        for name in names:
            write_picture(root / split / f"{name}.jpg", ord(name))
            written[name] = np.random.default_rng(ord(name)).choice(numbers, SIZE).astype(np.uint8)
            write_mask(root / "stuffthingmaps" / split / f"{name}.png", written[name])
    return written


def write_panoptic(root):
    """Categories 7 and 3, listed in that order; every picture has segments of both and void."""
    written = {}
    for split, names in (("train", "abcde"), ("val", "fg")):
        annotations = []
        for name in names:
            write_picture(root / f"{split}2017" / f"{name}.jpg", ord(name))
            ids = {1 + 2 * 256 + 3 * 65536: 7, 70_000: 3, 255: 3}
            parts = np.random.default_rng(ord(name)).choice([0, *ids], SIZE)
            written[name] = np.vectorize({0: 255, **{id_: [3, 7].index(c) for id_, c in ids.items()}}.get)(parts)
            coded = np.stack([parts % 256, parts // 256 % 256, parts // 65536], -1)
            write_mask(root / "annotations" / f"panoptic_{split}2017" / f"{name}.png", coded)
            segments = [{"id": id_, "category_id": category, "iscrowd": 0} for id_, category in ids.items()]
            annotations.append({"image_id": ord(name), "file_name": f"{name}.png", "segments_info": segments})
        content = {
            "images": [],
            "annotations": annotations,
            "categories": [{"id": 7, "name": "sky"}, {"id": 3, "name": "cat"}],
        }
        (root / "annotations" / f"panoptic_{split}2017.json").write_text(json.dumps(content))
    return written


def write_instances(root):
    """A cat (3) and a dog (7) that overlap, on every picture."""
    written = {}
    cat, dog = [0.0, 0, 4, 0, 4, 4, 0, 4], [2.0, 2, 8, 2, 8, 6, 2, 6]
    mask = np.zeros(SIZE, np.uint8)
    mask[0:4, 0:4] = 1
    mask[2:6, 2:8] = 2
    mask[2:4, 2:4] = 255
    for split, names in (("train2017", "abcde"), ("val2017", "fg")):
        images, annotations = [], []
        for place, name in enumerate(names, 1):
            write_picture(root / split / f"{name}.jpg", ord(name))
            written[name] = mask
            images.append({"id": place, "file_name": f"{name}.jpg", "height": SIZE[0], "width": SIZE[1]})
            for shift, (category, polygon) in enumerate([(3, cat), (7, dog)]):
                annotations.append(
                    {
                        "id": 2 * place + shift,
                        "image_id": place,
                        "category_id": category,
                        "bbox": [polygon[0], polygon[1], polygon[4] - polygon[0], polygon[5] - polygon[1]],
                        "segmentation": [polygon],
                        "iscrowd": 0,
                    }
                )
        path = root / "annotations" / f"instances_{split}.json"
        path.parent.mkdir(exist_ok=True)
        categories = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
        path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return written
