"""Whether a file can be written: asked before the minutes of measuring that fill it."""

import os
from pathlib import Path


def check_writable(name: str, path: str | os.PathLike[str]) -> None:
    """Open a file to write to it; what was there stays as it was, and what was not is not there after.

    Args:
        name: of the option, for the message.
        path: of the file.

    Raises:
        ValueError: it is a folder, in no folder that exists, or may not be written.
    """
    existed = os.path.lexists(path)
    try:
        Path(path).open("ab").close()
    except OSError as error:
        raise ValueError(
            f"Expected {name} to be a file to write, in a folder that exists, but got {os.fspath(path)!r}: {error.strerror}. "
            "Cure: another path."
        ) from error
    if not existed:
        Path(path).unlink()
