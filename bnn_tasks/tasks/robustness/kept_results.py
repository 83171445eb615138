"""Results of a long test on disk, each as soon as it is there, so that a test that was cut short goes on from them."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

_log = logging.getLogger(__name__)

SHOWN = 12  # hexadecimal digits of a fingerprint in a folder's name


class KeptResults:
    """The results of one test, in the order in which it asks for them: the n-th is the n-th of every test of its settings.

    They lie in a folder of their own, ``unfinished-…`` below `folder`, so that what other settings left is neither used nor
    lost. A test that is done calls `forget`.

    Args:
        folder: made where missing; None keeps nothing.
        settings: `fingerprint` of everything that the results depend on.
        device: where results are loaded to.
    """

    def __init__(self, folder: Path | None, settings: str = "", device: torch.device | str = "cpu") -> None:
        self._count, self._device, self._folder = 0, device, None
        if folder is None:
            return
        self._folder = folder / f"unfinished-{settings[:SHOWN]}"
        for other in sorted(folder.glob("unfinished-*")):
            if other == self._folder:
                _log.info("%s: going on from %d results of the same settings", other, len(list(other.glob("*.pt"))))
            else:
                _log.warning("%s is of other settings: this test starts anew, and leaves it as it is", other)
        self._folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, make: Callable[[], Any]) -> Any:
        """The next result: from disk, or made, and on disk before this returns.

        Args:
            name: of the result, for the log and the file.
            make: gives it, of tensors, numbers, text, lists and dictionaries.

        Raises:
            ValueError: the file is damaged.
        """
        self._count += 1
        if self._folder is None:
            return make()
        file = self._folder / f"{self._count:04d}.pt"
        if file.exists():
            found = self._load(file, name)
            _log.info("%s: taken over from %s", name, file)
            return found
        made = make()
        part = file.with_suffix(f".{os.getpid()}.part")
        torch.save({"name": name, "result": made}, part)
        os.replace(part, file)  # complete or not at all
        return made

    def _load(self, file: Path, name: str) -> Any:
        try:
            kept = torch.load(file, map_location=self._device, weights_only=True)
            if kept["name"] != name:
                raise KeyError(name)
        except Exception as error:  # torch raises a dozen kinds
            raise ValueError(
                f"Expected {str(file)!r} to hold the result of {name}, but it is damaged ({type(error).__name__}). Cure: "
                f"delete {str(file.parent)!r}, and the test starts anew."
            ) from error
        return kept["result"]

    def forget(self) -> None:
        """Delete what is kept: the test is done, and its report written."""
        if self._folder is not None:
            shutil.rmtree(self._folder)
