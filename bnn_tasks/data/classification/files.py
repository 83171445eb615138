"""The files of a set in a folder or in a zip file, alike."""

import io
import os
import zipfile
import zlib
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from bnn_tasks.data.classification.pictures import Source
from bnn_tasks.data.findings import DataError
from bnn_tasks.data.voc_files import IMAGE_SUFFIXES
from bnn_tasks.runtime.images import ImageError, read_image


class Files(Source):
    """Files by path below the set's folder, with ``/`` between the parts; hidden ones are left out.

    Args:
        root: folder or zip file.
        names: of all files below ``root``.
        folders: all folders below ``root``, empty ones too.
        splits: folders of the first level that are splits or hold them; any other one that holds all pictures is skipped,
            and what lies beside it is left out.

    Attributes:
        names: sorted.
        folders: sorted.
    """

    def __init__(self, root: Path, names: Iterable[str], folders: Iterable[str], splits: Collection[str]) -> None:
        self.root = root
        self.names = sorted(name for name in names if not _hidden(name))
        self.folders = sorted(folder for folder in folders if not _hidden(folder))
        self.prefix = ""
        tops = {name.rpartition("/")[0].partition("/")[0] for name in self.names if is_picture(name)}
        (top,) = tops if len(tops) == 1 else {""}
        if top and top not in splits and any(folder.startswith(f"{top}/") for folder in self.folders):
            self.prefix = f"{top}/"
            self.names, self.folders = (
                [name.removeprefix(self.prefix) for name in names if name.startswith(self.prefix)]
                for names in (self.names, self.folders)
            )


class FolderFiles(Files):
    """The files below a folder; links to folders are followed, but for those to a folder that the link is in.

    Args:
        root: the folder.
        splits: see ``Files``.
    """

    def __init__(self, root: Path, splits: Collection[str]) -> None:
        names, folders = [], []
        for place, below, files in os.walk(root, followlinks=True):
            here = Path(place).absolute()
            around = {folder.resolve() for folder in (here, *here.parents)}
            below[:] = [name for name in below if (here / name).resolve() not in around]
            inside = Path(place).relative_to(root)
            folders += [(inside / name).as_posix() for name in below]
            names += [(inside / name).as_posix() for name in files]
        super().__init__(root, names, folders, splits)

    def read(self, name: str) -> np.ndarray:
        """Decode a picture; see ``Source``."""
        return read_image(self.root / (self.prefix + name))


class ZipFiles(Files):
    """The files in a zip file, which is read where it is.

    Args:
        root: the zip file.
        splits: see ``Files``.

    Raises:
        DataError: not a zip file, or a damaged one.
    """

    def __init__(self, root: Path, splits: Collection[str]) -> None:
        try:
            with zipfile.ZipFile(root) as archive:
                names = [info.filename for info in archive.infolist()]
        except zipfile.BadZipFile as error:
            raise DataError(f"{root}: not a readable zip file ({error}); fetch it again") from error
        files = {name for name in names if not name.endswith("/")}
        folders = {name.rstrip("/") for name in names if name.endswith("/")}
        for name in set(map(os.path.dirname, files)) | folders:
            folders.update(str(parent) for parent in [PurePosixPath(name), *PurePosixPath(name).parents])
        super().__init__(root, files, folders - {".", ""}, splits)
        self._opened: tuple[int, zipfile.ZipFile] | None = None

    def read(self, name: str) -> np.ndarray:
        """Decode a picture; see ``Source``."""
        try:
            data = self._archive().read(self.prefix + name)
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, OSError) as error:
            raise ImageError(f"{self.root}: {name}: not readable ({error}); replace the file, or remove it") from error
        return read_image(_Named(data, f"{self.root}: {name}"))

    def _archive(self) -> zipfile.ZipFile:
        # A forked worker shares the open file's position with its parent, so each process opens one of its own.
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), zipfile.ZipFile(self.root)
        return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}


class _Named(io.BytesIO):
    """A file in memory that error messages can name."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name

    def __repr__(self) -> str:
        """What Pillow calls a file that it cannot read."""
        return repr(self.name)


def find_files(root: Path, splits: Collection[str]) -> Files:
    """List a set's files.

    Args:
        root: folder or zip file.
        splits: see ``Files``.

    Raises:
        DataError: there is neither.
    """
    if root.is_dir():
        return FolderFiles(root, splits)
    if root.is_file():
        return ZipFiles(root, splits)
    raise DataError(f"{root}: no such folder or zip file; set `root` to the data set's folder or .zip")


def is_picture(name: str) -> bool:
    """Whether a file's name is that of a picture.

    Args:
        name: of the file.
    """
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
