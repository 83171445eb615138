"""A generated folder appears complete or not at all, and is generated once."""

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bnn_tasks.data.findings import DataError
from bnn_tasks.data.synthetic.shapes import SHAPES
from bnn_tasks.runtime.images import Size

DEFAULT_CLASSES = ("circle", "square", "triangle")
TURN = ("train", "train", "train", "val", "test")  # image i belongs to TURN[i % 5]
SETTINGS = "synthetic.json"
SMALLEST_SIDE = 32


def check_settings(size: Size, seed: int, classes: Sequence[str]) -> None:
    """Raise unless pictures can be drawn so.

    Args:
        size: (height, width) in pixels, each at least 32.
        seed: >= 0.
        classes: keys of ``SHAPES``, without repetition.

    Raises:
        ValueError: a value out of its range.
    """
    if len(size) != 2 or min(size) < SMALLEST_SIDE:
        raise ValueError(f"Expected `size` to be (height, width), each at least {SMALLEST_SIDE}, but got {size}")
    if seed < 0:
        raise ValueError(f"Expected `seed` to be at least 0, but got {seed}")
    if not classes or len(set(classes)) < len(classes) or not set(classes) <= set(SHAPES):
        raise ValueError(f"Expected `classes` to be some of {sorted(SHAPES)}, but got {classes}")


def write_once(root: Path, settings: dict[str, Any], write: Callable[[Path], None]) -> None:
    """Write a folder, unless it is already there.

    Args:
        root: folder to make; it may exist when it is empty.
        settings: what makes the content; kept in the folder, in JSON's types.
        write: writes the content into a folder.

    Raises:
        DataError: ``root`` holds something else than these settings' content.
    """
    if _is_there(root, settings):
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        work.chmod(0o755)  # mkdtemp's folder is private
        write(work)
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
