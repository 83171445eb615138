"""Faults of pictures and masks in words, so that training and ``check-data`` say the same of the same set."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from bnn_tasks.runtime.images import Size


def void_fault(root: Path, split: str, count: int) -> str:
    """Say that a split has no pixel of any class.

    Args:
        root: of the set.
        split: its name.
        count: of its masks.
    """
    return (
        f"{root}: every pixel of the {count} masks of the {split} split is void, so nothing of it can be learnt or judged. "
        "Cure: correct the masks, or what says which of their values or colours are classes and which are void"
    )


def one_class_fault(name: str) -> str:
    """Say that there is nothing to tell apart.

    Args:
        name: of the only class.
    """
    return (
        f"{name!r} is the only class, so any net is right on every pixel that is not void, and training teaches nothing; if "
        "there is a background, make it a class"
    )


def unmet_fault(name: str) -> str:
    """Say that a class cannot be learnt.

    Args:
        name: of the class.
    """
    return f"class {name!r} has no pixel in the train split, so it cannot be learnt"


def void_class_hint(names: Sequence[str], unmet: Sequence[int]) -> str | None:
    """Say how masks of 0 and 255 are read, which many programs write for two classes; None where it does not matter.

    Args:
        names: of the classes.
        unmet: labels that no mask has.
    """
    if len(names) != 2 or list(unmet) != [1]:
        return None
    return (
        f"no pixel is {names[1]!r}; if that is what 255 stands for, which is void, say so: values: [0, 255], void: []"
    )


def size_fault(picture: Path, size: Size, mask: Path, mask_size: Size) -> str | None:
    """Say that a picture and its mask differ in size; None where they do not.

    Args:
        picture: its file.
        size: (height, width) of the picture as ``read_image`` gives it.
        mask: its file.
        mask_size: (height, width).
    """
    if size == mask_size:
        return None
    return (
        f"{mask}: the mask is {mask_size[1]}x{mask_size[0]} pixels, but {picture.name} is {shown_size(picture, size)}. Cure: "
        "give the mask at that size"
    )


def shown_size(picture: Path, size: Size) -> str:
    """Say a picture's size, and that its EXIF orientation has exchanged its sides where that is so.

    Args:
        picture: its file, readable.
        size: (height, width) as ``read_image`` gives it.
    """
    with Image.open(picture) as image:
        turned = image.size != (size[1], size[0])
    return f"{size[1]}x{size[0]}" + (", its EXIF orientation applied" if turned else "")
