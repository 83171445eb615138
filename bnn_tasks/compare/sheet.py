"""The sheet of pictures that a comparison leaves where it is told to."""

import os
from pathlib import Path

from PIL import Image

from bnn_tasks.bench.output import check_writable


def check_sheet(path: str | os.PathLike[str]) -> None:
    """Make a sheet's folder, and find out before the minutes of comparing whether the sheet can be written.

    Args:
        path: of the picture to write; its suffix names the format.

    Raises:
        ValueError: the suffix is that of no format that Pillow writes, or the file cannot be written.
        OSError: the folder cannot be made.
    """
    Image.init()
    suffixes = {suffix for suffix, kind in Image.EXTENSION.items() if kind in Image.SAVE}
    if Path(path).suffix.lower() not in suffixes:
        raise ValueError(
            f"Expected `sheet` to be a picture, but got {os.fspath(path)!r}. Cure: a name that ends with .png."
        )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    check_writable("`sheet`", path)
