"""``predictions.json``, kept up while a run goes on."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

SAVE_EVERY = 10.0  # seconds: what a run that is killed loses at most


class PredictionsFile:
    """A JSON list of rows, written anew every few seconds and at the end, also where an error ends the run.

    What an earlier run left is removed first, so that no file speaks of pictures that are no longer there.

    Args:
        path: of the file; its folder is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self._due = time.monotonic() + SAVE_EVERY

    def __enter__(self) -> "PredictionsFile":
        self.path.unlink(missing_ok=True)
        return self

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add the rows of one picture.

        Args:
            rows: as JSON holds them.
        """
        self.rows += rows
        if time.monotonic() >= self._due:
            self._write()
            self._due = time.monotonic() + SAVE_EVERY

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write()

    def _write(self) -> None:
        draft = self.path.with_name(f"{self.path.name}.tmp")
        draft.write_text(json.dumps(self.rows, indent=1))
        draft.replace(self.path)  # whole or not at all
