"""Where callbacks write, and how: complete or not at all."""

import json
import logging
import math
import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import lightning as L

_log = logging.getLogger(__name__)

JSON = TypeVar("JSON", dict[str, Any], list[dict[str, Any]])


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, complete or not at all: to a temporary file that then takes the place of `path`.

    JSON has no NaN and no infinity: what is neither a number nor one is null.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # tempfile's files can be read by their owner alone
    part.write_text(json.dumps(_plain(value), indent=1, allow_nan=False))
    os.replace(part, path)


def read_json(path: Path, empty: JSON) -> JSON:
    """What an earlier run wrote, or `empty` where there is no file.

    A damaged file, which power that failed may leave, is set aside as ``NAME.damaged``, with a warning: the run goes on.

    Args:
        path: of the file.
        empty: a list or a dictionary, as the file's is to be.
    """
    if not path.exists():
        return empty
    try:
        value = json.loads(path.read_bytes())
    except ValueError:
        value = None
    if isinstance(value, type(empty)):
        return value
    aside = path.with_name(f"{path.name}.damaged")
    os.replace(path, aside)
    _log.warning("%s is damaged; it is set aside as %s, and a new one begins", path, aside)
    return empty


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@cache
def _rehearsal_folder() -> TemporaryDirectory[str]:
    """Of this process, deleted when it ends."""
    return TemporaryDirectory(prefix="bnn_tasks_")


def run_folder(trainer: L.Trainer, dirpath: str | None) -> Path:
    """`dirpath`, or the trainer's ``default_root_dir`` where it is None.

    With ``fast_dev_run``, which is to try every part of a run and leave nothing, a folder that goes with the process.
    """
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        return Path(_rehearsal_folder().name)
    return Path(dirpath if dirpath is not None else trainer.default_root_dir)
