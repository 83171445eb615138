"""PASCAL VOC's own years, 2007 and 2012, and their union."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torchvision.datasets import VOCDetection

from bnn_tasks.data.detection.voc_layout import VOCEntry, VOCLayoutData
from bnn_tasks.data.findings import DataError
from bnn_tasks.data.named import check_split_keys
from bnn_tasks.data.voc_files import VOCFiles

# In the official order: Everingham et al., The PASCAL Visual Object Classes Challenge, 2010; the devkit's VOCinit.
VOC_CLASSES = (
    *(
        "aeroplane",
        "bicycle",
        "bird",
        "boat",
        "bottle",
        "bus",
        "car",
        "cat",
        "chair",
        "cow",
        "diningtable",
        "dog",
        "horse",
    ),
    *("motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
# The protocol of most papers, "07+12": their val is their test.
SPLITS_07_12 = {"train": ["2007_trainval", "2012_trainval"], "val": ["2007_test"], "test": ["2007_test"]}
YEARS = ("2007", "2012")
DEVKIT = "VOCdevkit"


class VOCDevkitData(VOCLayoutData):
    """VOC as published: the years of ``VOCdevkit/VOC<year>/``, each split a union of lists of any of them.

    An image is known by its place in the union, so that years may have the same names. The classes are VOC's 20, in the
    official order. By default training is on trainval of 2007 and 2012, and val and test are both the test list of 2007;
    to choose settings without looking at it, take for instance ``{"train": ["2007_train", "2012_train"],
    "val": ["2007_val"], "test": ["2007_test"]}``.

    Args:
        root: the folder ``VOCdevkit``.
        sizes: see ``DetectionData``.
        splits: the lists of each of "train", "val" and "test", ``"<year>_<list>"`` for
            ``VOC<year>/ImageSets/Main/<list>.txt``; those left out are as by default.
        download: fetch, through torchvision, what the lists need and ``root`` lacks: 2007's trainval and test (0.9 GB),
            2012's trainval (2 GB).
        **kwargs: the other arguments of ``VOCLayoutData``.

    Raises:
        ValueError: an unknown split, a list without a year, the same list twice in a split, or ``download`` to a folder of
            another name than ``VOCdevkit``.
    """

    def __init__(
        self,
        root: str | Path,
        sizes: list[tuple[int, int]],
        splits: dict[str, list[str]] | None = None,
        download: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, sizes, **kwargs)
        check_split_keys(splits or {})
        self.splits = SPLITS_07_12 | (splits or {})
        for split, lists in self.splits.items():
            if not lists or len(set(lists)) < len(lists):
                raise ValueError(f"Expected `splits` to name each list of {split} once, but got {lists}")
            for name in lists:
                _year_and_list(name)
        if download and self.root.name != DEVKIT:
            raise ValueError(
                f"Expected `root` to be a folder {DEVKIT}, as the archives have it, where `download` is true, but got "
                f"{str(self.root)!r}. Cure: root: {self.root / DEVKIT}"
            )
        self.download = download
        self._years: dict[str, VOCFiles] = {}

    @property
    def class_names(self) -> list[str]:
        """VOC's 20 classes in the official order."""
        return list(VOC_CLASSES)

    def prepare_data(self) -> None:
        """Fetch what is missing where ``download`` says so.

        Raises:
            DataError: it cannot be fetched.
        """
        if self.download:
            for name in sorted({name for lists in self.splits.values() for name in lists}):
                year, list_ = _year_and_list(name)
                if not (self.root / f"VOC{year}" / "ImageSets" / "Main" / f"{list_}.txt").is_file():
                    fetch_year(self.root / f"VOC{year}", list_, VOCDetection)

    def entries(self, split: str) -> list[VOCEntry]:
        """List a split: its lists one after the other, each sorted by name.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.

        Raises:
            DataError: a year or a list is missing, or a list names an image that another one of the year has named.
        """
        entries: list[VOCEntry] = []
        seen: dict[tuple[str, str], str] = {}
        for name in self.splits[split]:
            year, list_ = _year_and_list(name)
            files = self._files(year)
            if files.image_sets is None:
                raise DataError(f"{self.root / f'VOC{year}'}: it has no ImageSets/Main; add the list {list_}.txt")
            for image in files.names(list_):
                if other := seen.get((year, image)):
                    raise DataError(
                        f"{files.image_sets}: {image} is in {other} and in {name}; name one of the two lists"
                    )
                seen[year, image] = name
                entries.append(VOCEntry(files, image))
        return entries

    def _files(self, year: str) -> VOCFiles:
        if year not in self._years:
            folder = self.root / f"VOC{year}"
            if not folder.is_dir():
                there = sorted(path.name for path in self.root.glob("VOC*"))
                raise DataError(
                    f"{folder}: no such folder; `root` has {there}. Set `root` to the folder {DEVKIT}, name other years in "
                    "`splits`, or set `download` to true"
                )
            self._years[year] = VOCFiles.find(folder)
        return self._years[year]


def _year_and_list(name: str) -> tuple[str, str]:
    match = re.fullmatch(rf"({'|'.join(YEARS)})_([A-Za-z0-9_-]+)", name)
    if match is None:
        raise ValueError(f'Expected `splits` to name lists as "2007_trainval", years 2007 and 2012, but got {name!r}')
    return match[1], match[2]


def fetch_year(folder: Path, list_: str, archive: Callable[..., object]) -> None:
    """Fetch the archive of a year that has a list.

    Args:
        folder: to be, ``VOCdevkit/VOC<year>``.
        list_: its name.
        archive: torchvision's data set of a VOC task, which fetches where ``download`` is true.

    Raises:
        DataError: it cannot be fetched.
    """
    year = folder.name.removeprefix("VOC")
    try:
        archive(folder.parent.parent, year, list_, download=True)
    except (OSError, RuntimeError, ValueError) as error:  # torchvision's: no network, wrong checksum, no such list
        reason = " ".join(str(error).split())
        raise DataError(
            f"{folder}: the list {list_} is missing and cannot be fetched ({reason}); check the network connection, or unpack "
            f"the archive of http://host.robots.ox.ac.uk/pascal/VOC/voc{year}/ so that {folder.parent} holds {folder.name}"
        ) from error
