"""How kernels are compiled: lazily, by numba, with a disk cache in the user's cache folder."""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core import event

_numba: Any = numba.config  # its names come from the environment, which type checkers cannot see
logger = logging.getLogger(__name__)


@cache
def _sources() -> str:
    """Digest of the kernels' sources: numba itself looks at a function's own file, not at what it calls in others."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*here.glob("simd/*.py"), here / "suppression.py", here / "jit.py"]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cache_folder() -> str:
    """A folder for these sources: in NUMBA_CACHE_DIR where set, else in `bnn_tasks` in the user's cache folder.

    The user's cache folder follows the XDG base directory rule; without a home it is the system's folder for temporary
    files. Numba keeps apart what it compiled for other machines.
    """
    chosen = _numba.CACHE_DIR or os.environ.get("XDG_CACHE_HOME")
    if chosen is None:
        try:
            chosen = str(Path("~").expanduser() / ".cache")
        except RuntimeError:
            chosen = tempfile.gettempdir()
    return str((Path(chosen) if _numba.CACHE_DIR else Path(chosen) / "bnn_tasks") / _sources())


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a module-level function on first use, division as numpy does it (x / 0 is inf or nan, no exception).

    The cache folder is fixed while numba decorates and put back, so that other users of numba in the process keep
    theirs. Where no folder at all can be written, kernels are compiled anew in every process.

    Args:
        options: of numba.njit.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        folder = cache_folder()
        if not _can_write(folder):  # numba would go on to folders that it would not clear of old code
            return numba.njit(error_model="numpy", **options)(function)
        previous = _numba.CACHE_DIR
        _numba.CACHE_DIR = folder
        try:
            return _forgiving(numba.njit(cache=True, error_model="numpy", **options)(function))
        except RuntimeError:  # "no locator available": the sources lie in no folder
            return numba.njit(error_model="numpy", **options)(function)
        finally:
            _numba.CACHE_DIR = previous

    return decorate


def _forgiving(dispatcher: Any) -> Any:
    """Let a kernel be compiled anew where its cached code is damaged, and do without a cache that is full."""
    if _numba.DISABLE_JIT:  # it is the function as it was
        return dispatcher
    kept = dispatcher._cache
    load, save = kept.load_overload, kept.save_overload

    def load_overload(*arguments: Any) -> Any:
        try:
            return load(*arguments)
        except Exception as error:
            _complain("read", error)
            with suppress(Exception):
                kept.flush()
            return None

    def save_overload(*arguments: Any) -> None:
        try:
            save(*arguments)
        except Exception as error:
            _complain("write", error)

    kept.load_overload, kept.save_overload = load_overload, save_overload
    return dispatcher


@cache
def _complain(verb: str, error: Exception) -> None:
    logger.warning("cannot %s compiled kernels in %s (%s); compiling them in this process", verb, cache_folder(), error)


@cache
def _can_write(folder: str) -> bool:
    """Whether files can be made in a folder, which is made where it is missing."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


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
