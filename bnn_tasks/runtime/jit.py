"""How kernels are compiled: lazily, by numba, with a disk cache in the user's cache folder."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import event

_numba: Any = numba.config  # its names come from the environment, which type checkers cannot see
logger = logging.getLogger(__name__)


def cache_folder() -> str:
    """NUMBA_CACHE_DIR where set, else `bnn_tasks` in the user's cache folder (XDG base directory rule)."""
    user = os.environ.get("XDG_CACHE_HOME") or str(Path("~").expanduser() / ".cache")
    return _numba.CACHE_DIR or str(Path(user) / "bnn_tasks")


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a module-level function on first use, division as numpy does it (x / 0 is inf or nan, no exception).

    The cache folder is fixed while numba decorates and put back, so that other users of numba in the process keep
    theirs. Where no folder at all can be written, kernels are compiled anew in every process.

    Args:
        options: of numba.njit.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        previous = _numba.CACHE_DIR
        _numba.CACHE_DIR = cache_folder()
        try:
            return numba.njit(cache=True, error_model="numpy", **options)(function)
        except RuntimeError:  # numba: "no locator available"
            return numba.njit(error_model="numpy", **options)(function)
        finally:
            _numba.CACHE_DIR = previous

    return decorate


class _Announcer(event.Listener):
    """Logs one line when the first kernel of the process is compiled rather than read from the cache."""

    def __init__(self) -> None:
        self._silent = False

    def on_start(self, event: event.Event) -> None:
        """Numba starts to compile something."""
        module = event.data["dispatcher"].py_func.__module__
        if not self._silent and module.startswith("bnn_tasks.runtime."):
            self._silent = True
            logger.warning("compiling kernels, once per machine (cache: %s)", cache_folder())

    def on_end(self, event: event.Event) -> None:
        """Numba is done; nothing to say."""


event.register("numba:compile", _Announcer())
