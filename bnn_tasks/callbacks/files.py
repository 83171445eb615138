"""Where callbacks write, and how: complete or not at all."""

import json
import math
import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, complete or not at all: to a temporary file that then takes the place of `path`.

    JSON has no NaN and no infinity: what is neither a number nor one is null.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # tempfile's files can be read by their owner alone
    part.write_text(json.dumps(_plain(value), indent=1, allow_nan=False))
    os.replace(part, path)


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
