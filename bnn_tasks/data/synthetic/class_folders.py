"""Writes a generated classification set in ImageNet's layout."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bnn_tasks.data.synthetic.once import DEFAULT_CLASSES, TURN, check_settings, write_once
from bnn_tasks.data.synthetic.scenes import portrait
from bnn_tasks.runtime.images import Size

VERSION = 1  # of the pictures; raised whenever the same seed would draw others


def generate_classes(
    root: str | Path,
    images: int = 1000,
    size: Size = (32, 32),
    seed: int = 0,
    classes: Sequence[str] = DEFAULT_CLASSES,
) -> None:
    """Draw a classification set: {train,val,test}/<class>/NNNNNN.png in shares 3 : 1 : 1, one shape a picture.

    The folder appears complete or not at all. Image i depends on ``seed``, ``classes`` and i alone: a larger set begins
    with the smaller one, and one version of Pillow and numpy writes the same bytes again. Where ``root`` already holds
    the set of these very arguments, nothing is done.

    Args:
        root: folder to make; it may exist when it is empty.
        images: of all classes together, at least 5 a class.
        size: (height, width) in pixels, each at least 32.
        seed: >= 0.
        classes: keys of ``SHAPES``, without repetition.

    Raises:
        ValueError: a value out of its range.
        DataError: ``root`` holds something else.
    """
    check_settings(size, seed, classes)
    if images < (least := len(TURN) * len(classes)):
        raise ValueError(f"Expected `images` to be at least {least}, {len(TURN)} a class, but got {images}")
    settings = {
        "kind": "classification",
        "version": VERSION,
        "images": images,
        "size": list(size),
        "seed": seed,
        "classes": list(classes),
    }
    write_once(Path(root), settings, lambda folder: _write(folder, images, size, seed, classes))


def _write(root: Path, images: int, size: Size, seed: int, classes: Sequence[str]) -> None:
    for i in range(images):
        turn, label = divmod(i, len(classes))
        folder = root / TURN[turn % len(TURN)] / classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        portrait(np.random.default_rng([seed, i]), *size, classes[label]).save(folder / f"{i:06d}.png")
