"""Where callbacks write, and how: complete or not at all."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import lightning as L


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, complete or not at all: to a temporary file that then takes the place of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False) as file:
        json.dump(value, file, indent=1)
    os.replace(file.name, path)


def run_folder(trainer: L.Trainer, dirpath: str | None) -> Path:
    """`dirpath`, or the trainer's ``default_root_dir`` where it is None."""
    return Path(dirpath if dirpath is not None else trainer.default_root_dir)
