"""Writes a generated segmentation set: pictures and paletted masks, a folder a split."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bnn_tasks.data.synthetic.once import DEFAULT_CLASSES, TURN, check_settings, write_once
from bnn_tasks.data.synthetic.scenes import labelled_scene
from bnn_tasks.runtime.images import Size

VERSION = 1  # of the pictures and masks; raised whenever the same seed would draw others
# Of the background, then of the classes in turn: only for whoever looks at a mask.
PALETTE = ((0, 0, 0), (230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48))


def generate_masks(
    root: str | Path,
    images: int = 600,
    size: Size = (240, 320),
    seed: int = 0,
    classes: Sequence[str] = DEFAULT_CLASSES,
) -> None:
    """Draw a segmentation set: images/<split>/NNNNNN.jpg and masks/<split>/NNNNNN.png in shares 3 : 1 : 1.

    Mask value 0 is the background, i + 1 is ``classes[i]``. The pictures are those of ``generate`` for the same
    arguments. The folder appears complete or not at all, image i depends on ``seed`` and i alone, and where ``root`` already
    holds the set of these very arguments, nothing is done.

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
    check_settings(size, seed, classes)
    if images < len(TURN):
        raise ValueError(f"Expected `images` to be at least {len(TURN)}, one for each turn, but got {images}")
    settings = {
        "kind": "segmentation",
        "version": VERSION,
        "images": images,
        "size": list(size),
        "seed": seed,
        "classes": list(classes),
    }
    write_once(Path(root), settings, lambda folder: _write(folder, images, size, seed, classes))


def _write(root: Path, images: int, size: Size, seed: int, classes: Sequence[str]) -> None:
    for split in dict.fromkeys(TURN):
        (root / "images" / split).mkdir(parents=True)
        (root / "masks" / split).mkdir(parents=True)
    for i in range(images):
        picture, labels = labelled_scene(np.random.default_rng([seed, i]), *size, classes)
        mask = Image.fromarray(labels, "P")
        mask.putpalette(np.array(PALETTE, np.uint8).tobytes())
        split = TURN[i % len(TURN)]
        picture.save(root / "images" / split / f"{i:06d}.jpg", quality=95, subsampling=0)
        mask.save(root / "masks" / split / f"{i:06d}.png")
