"""Mask files as they are: the numbers or colours in them, bit by bit, never resampled and never through a conversion."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from bnn_tasks.data.findings import DataError
from bnn_tasks.runtime.images import ImageError, Size, image_size

COLOUR_MODES = {"RGB", "RGBA"}
GREY_MODES = {"L", "LA", "1"}  # what programs that shrink files make of an RGB mask of grey colours alone
INDEX_MODES = {"P", "L", "1", "I", "I;16", "I;16B", "I;16L", "PA", "LA"}
# What Pillow multiplies the values of 2- and 4-bit grey files by, so that white is 255; the start of its raw modes.
STRETCHED = {"L;2": 85, "L;4": 17}


def mask_size(path: Path) -> Size:
    """Return a mask's (height, width) from its header alone (TIFF is decoded).

    Args:
        path: of the mask.

    Raises:
        ImageError: the header cannot be read.
    """
    try:
        with Image.open(path) as image:
            if image.format == "TIFF":  # its orientation tag turns the header's size, and the pixels otherwise
                image.load()
            width, height = image.size
    except Exception as error:  # as in ``_Opened``
        raise _unreadable(path, error) from error
    return height, width


def read_indices(path: Path) -> np.ndarray:
    """Read the numbers of an index mask: palette indices, grey values of 1 to 16 bits.

    A 1-bit file has 0 and 1. An EXIF orientation is not applied but for TIFF's, which Pillow applies.

    Args:
        path: of the mask.

    Returns:
        (height, width) integers.

    Raises:
        ImageError: the file cannot be read.
        DataError: it is not an index mask: RGB, of real numbers, or lossy.
    """
    with _Opened(path) as opened:
        image = opened.image
        if image.mode in COLOUR_MODES:
            raise DataError(_rgb_fault(path, np.asarray(image)))
        if image.mode not in INDEX_MODES:
            raise DataError(
                f"{path}: expected an index mask (paletted, or grey of 1 to 16 bits), but got mode {image.mode}. Cure: save "
                "it as an 8-bit PNG"
            )
        pixels = np.asarray(image)
    if pixels.ndim == 3:  # its transparency says nothing of classes
        pixels = pixels[..., 0]
    if pixels.dtype == bool:
        return pixels.astype(np.uint8)
    return pixels // opened.stretch if opened.stretch > 1 else pixels


def read_colours(path: Path) -> np.ndarray:
    """Read the colours of an RGB-coded mask.

    Of a paletted file they are its palette's, which programs that shrink files renumber; a grey v of up to 8 bits is (v, v, v),
    where white is 255. Transparency is left aside.

    Args:
        path: of the mask.

    Returns:
        (height, width, 3) uint8.

    Raises:
        ImageError: the file cannot be read.
        DataError: the mask has no colours, or is lossy.
    """
    with _Opened(path) as opened:
        image = opened.image
        if image.mode in COLOUR_MODES:
            return np.array(image)[..., :3]
        if image.mode == "P":
            palette = np.zeros((256, 3), np.uint8)
            values = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
            palette[: len(values)] = values
            return palette[np.asarray(image)]
        if image.mode in GREY_MODES:
            return np.array(image.convert("L").convert("RGB"))
        raise DataError(
            f"{path}: expected an RGB-coded mask, since `colours` are given, but got mode {image.mode}, whose pixels are "
            "numbers. Cure: leave `colours` out, and give `classes`"
        )


class _Opened:
    """A mask file, decoded; Pillow's errors as ``ImageError``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> "_Opened":
        image_size(self.path)  # raises ImageError for a missing file, no picture, or one too large
        try:
            self.image = Image.open(self.path)
            self.stretch = _stretch(self.image)
            self.image.load()
        except Exception as error:  # Pillow's decoders raise almost anything on damaged files
            raise _unreadable(self.path, error) from error
        if self.image.format in ("JPEG", "MPO"):
            raise DataError(
                f"{self.path}: JPEG changes a mask's values. Cure: save the masks as PNG, from their source"
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.image.close()


def _unreadable(path: Path, error: Exception) -> ImageError:
    return ImageError(f"{path}: not a readable mask ({error}); replace the file, or remove it from the set")


def _stretch(image: ImageFile.ImageFile) -> int:
    """The factor by which Pillow's decoder will multiply the file's values."""
    for tile in image.tile:  # there is none once the pixels are decoded
        mode = tile[3] if isinstance(tile[3], str) else str((tile[3] or ("",))[0])
        return STRETCHED.get(mode[:3], 1)
    return 1


def _rgb_fault(path: Path, pixels: np.ndarray) -> str:
    rgb = pixels[..., :3]
    if (rgb == rgb[..., :1]).all():
        return (
            f"{path}: expected an index mask, but got an RGB one, of equal channels. Cure: save it as an 8-bit grey PNG if "
            "they are label numbers; if they are colours, give the colour table, colours: {name: [r, g, b], ...}"
        )
    colours, counts = np.unique(rgb.reshape(-1, 3), axis=0, return_counts=True)
    common = ", ".join(str(colours[i].tolist()) for i in np.argsort(-counts, kind="stable")[:5])
    return (
        f"{path}: expected an index mask (paletted or grey), but got an RGB one of {len(colours)} colours, {common} the most "
        "common. Cure: give the colour table, colours: {name: [r, g, b], ...}, to MaskFolderData"
    )
