"""Which files make up a set in VOC layout."""

import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bnn_tasks.data.findings import DataError
from bnn_tasks.data.named import VAL_STRIDE, split_by_position

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
FOLDERS = (("JPEGImages", "Annotations"), ("images", "annotations"), ("", ""))


@dataclass(frozen=True)
class VOCFiles:
    """The files of a set, by name without suffix, in Unicode's composed form (NFC): macOS writes ä as two characters.

    Attributes:
        images: picture files.
        annotations: XML files.
        image_sets: ``ImageSets/Main``, None where there is none.
    """

    images: dict[str, Path]
    annotations: dict[str, Path]
    image_sets: Path | None

    @classmethod
    def find(cls, root: Path) -> "VOCFiles":
        """List a set's files, in the first of ``FOLDERS`` that exists below ``root``.

        Args:
            root: folder of the set.

        Raises:
            DataError: no such folder, no files in it, or two pictures of one name.
        """
        if not root.is_dir():
            raise DataError(f"{root}: no such folder; set `root` to the data set's folder")
        pairs = [(root / images, root / annotations) for images, annotations in FOLDERS]
        for images, annotations in pairs:
            if images.is_dir() and annotations.is_dir():
                image_sets = root / "ImageSets" / "Main"
                files = cls(
                    _by_stem(images, IMAGE_SUFFIXES),
                    _by_stem(annotations, {".xml"}),
                    image_sets if image_sets.is_dir() else None,
                )
                break
        if not files.images and not files.annotations:
            raise DataError(
                f"{root}: found neither images nor XML files; expected JPEGImages/ and Annotations/, "
                "images/ and annotations/, or both kinds of file side by side"
            )
        return files

    def names(self, split: str) -> list[str]:
        """Return a split's image names, sorted.

        With ``ImageSets/Main`` they are the lines of ``<split>.txt``. Without it every fifth of the sorted names is
        "val" and the others are "train".

        Args:
            split: name of a list in ``ImageSets/Main``, or "train" or "val".

        Raises:
            DataError: no such split, one that is empty or not UTF-8, or a name twice in it.
        """
        if self.image_sets is None:
            return self._names_by_position(split)
        path = self.image_sets / f"{split}.txt"
        if not path.is_file():
            there = sorted(p.stem for p in self.image_sets.glob("*.txt"))
            raise DataError(f"{path}: no such split; there are {there}. Add the list, or name another with `splits`")
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: the list cannot be read ({error}); save it as UTF-8") from error
        names = sorted(unicodedata.normalize("NFC", line.strip()) for line in lines if line.strip())
        if not names:
            raise DataError(f"{path}: the split is empty; list one image name a line, without suffix")
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise DataError(f"{path}: listed more than once: {', '.join(twice)}; keep one line of each")
        return names

    def _names_by_position(self, split: str) -> list[str]:
        names = sorted({*self.images, *self.annotations})
        train, val = split_by_position(names)
        if split not in ("train", "val"):
            raise DataError(f"Expected split 'train' or 'val' of a set without ImageSets/Main, but got {split!r}")
        if not val:
            raise DataError(f"{len(names)} images are too few to split; give at least {VAL_STRIDE}, or ImageSets/Main")
        return val if split == "val" else train


def _by_stem(folder: Path, suffixes: set[str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and path.is_file() and not path.name.startswith("."):
            name = unicodedata.normalize("NFC", path.stem)
            if name in files:
                raise DataError(f"{path}: has the same name as {files[name].name}; rename one of them")
            files[name] = path
    return files
