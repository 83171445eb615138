"""The one image path: reading here, fitting to the net's input size in ``resize``.

Training and the runtime both read pictures here, so that a net sees in use exactly the pixels it was trained on.
"""

import os
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageFile

from bnn_tasks.runtime.resize import Placement, Resize, Size, Window, covered_pixels

__all__ = [
    "ImageError",
    "Placement",
    "Resize",
    "Size",
    "Window",
    "covered_pixels",
    "image_files",
    "image_size",
    "is_turned",
    "read_image",
    "to_channels",
]

MAX_PIXELS = 178_956_970  # twice Pillow's MAX_IMAGE_PIXELS: where Pillow itself turns its warning into an error

_TRANSPOSE = {  # EXIF 2.3, tag 0x0112
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(ValueError):
    """A picture that cannot be read; the message names the file and the cure."""


def read_image(source: str | os.PathLike[str] | BinaryIO) -> np.ndarray:
    """Read one picture as RGB, the first frame where there are several.

    The EXIF orientation is applied, but for a PNG file's that comes after the pixels: ``image_size``, which decodes none, would
    not see it. Transparency is composited on white, the page most viewers show it on. 16-bit
    pictures (modes I;16, I, F) are divided by 257, so 65535 becomes 255; an F picture within [0, 1] is multiplied
    by 255. Greyscale, palette, 1-bit, CMYK and the rest are converted as Pillow does.

    Args:
        source: path, or binary stream at the first byte of the file.

    Returns:
        (height, width, 3) uint8.

    Raises:
        ImageError: no such file, not a picture, truncated or damaged, zero pixels or more than ``MAX_PIXELS``.
    """
    name = _name(source)
    try:
        with Image.open(source) as image:
            _check_size(image.size, name)
            transpose = _TRANSPOSE.get(_orientation(image))
            image.load()
            rgb = _to_rgb(image, name)
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files
        raise _image_error(error, name) from error
    return np.array(rgb if transpose is None else rgb.transpose(transpose))


def image_size(source: str | os.PathLike[str] | BinaryIO) -> Size:
    """Return (height, width) as ``read_image`` would give them, from the file's header alone (TIFF is decoded).

    Args:
        source: path, or binary stream at the first byte of the file.

    Raises:
        ImageError: the header cannot be read.
    """
    name = _name(source)
    try:
        with Image.open(source) as image:
            _check_size(image.size, name)
            turned = _orientation(image) >= 5
            if image.format == "TIFF":  # some versions of Pillow turn its size on loading
                image.load()
            width, height = image.size
            return (width, height) if turned else (height, width)
    except Exception as error:  # as in read_image
        raise _image_error(error, name) from error


def is_turned(path: Path) -> bool:
    """Whether a picture has an EXIF orientation that ``read_image`` turns or mirrors it by; False of what cannot be read.

    Args:
        path: of the picture.
    """
    try:
        with Image.open(path) as image:
            return _orientation(image) in _TRANSPOSE
    except Exception:  # as in read_image
        return False


def image_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Return the files below a folder that have one of some suffixes, sorted; links to folders are followed.

    Hidden files and folders are left out: macOS puts ``._a.jpg`` beside a.jpg.

    Args:
        folder: to search.
        suffixes: lower case, with the dot.
    """
    found = []
    for place, below, names in os.walk(folder, followlinks=True):
        here = Path(place).resolve()
        loops = {name for name in below if here.is_relative_to(Path(place, name).resolve())}
        below[:] = [name for name in below if not name.startswith(".") and name not in loops]
        files = (Path(place, name) for name in names if not name.startswith("."))
        found += [path for path in files if path.suffix.lower() in suffixes and path.is_file()]
    return sorted(found)


def to_channels(canvas: np.ndarray, channels: int) -> np.ndarray:
    """Give a canvas the channels that a net takes: RGB as it is, or its luma alone.

    The luma is Pillow's, ITU-R BT.601 rounded to 8 bits; of a grey picture it is the picture's own value, bit by bit.

    Args:
        canvas: (H, W, 3) uint8 RGB.
        channels: 3 or 1.

    Returns:
        (H, W, channels) uint8.

    Raises:
        ValueError: ``channels`` is neither 3 nor 1.
    """
    if channels == 3:
        return canvas
    if channels != 1:
        raise ValueError(
            f"Expected `channels` to be 3 (RGB) or 1 (grey), but got {channels}. Cure: choose one of them."
        )
    return np.array(Image.fromarray(canvas).convert("L"))[..., None]


def _name(source: str | os.PathLike[str] | BinaryIO) -> str:
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    return str(getattr(source, "name", "<stream>"))


def _image_error(error: Exception, name: str) -> ImageError:
    if isinstance(error, ImageError):
        return error
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return ImageError(f"{name}: {error}; scale the picture down")
    if isinstance(error, FileNotFoundError | IsADirectoryError | PermissionError):
        return ImageError(f"{name}: {error.strerror or error}; check the path")
    return ImageError(f"{name}: not a readable picture ({error}); replace the file, or remove it from the set")


def _check_size(size: Size, name: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name}: the picture is {width}x{height} pixels; replace the file, or remove it from the set")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name}: {width}x{height} pixels are more than {MAX_PIXELS}; scale the picture down")


def _orientation(image: ImageFile.ImageFile) -> int:
    """What is left to turn an opened picture by, whose pixels are not decoded yet."""
    if image.format == "TIFF":  # Pillow turns it by itself
        return 1
    try:
        # The base class's method: PNG's own one decodes the whole picture to look for a late chunk.
        return int(Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1))
    except Exception:  # a broken EXIF block does not make a picture unreadable
        return 1


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_8bit(np.asarray(image, np.float64), image.mode, name)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _to_8bit(values: np.ndarray, mode: str, name: str) -> np.ndarray:
    low, high = float(values.min()), float(values.max())  # NaN when any value is
    if not (low >= 0 and high <= 65535):
        raise ImageError(
            f"{name}: expected mode {mode} pixels to be in [0, 65535], but they are in [{low}, {high}]; "
            "rescale the picture to 8 or 16 bits"
        )
    scale = 255.0 if mode == "F" and high <= 1 else 1 / 257
    return np.rint(values * scale).astype(np.uint8)
