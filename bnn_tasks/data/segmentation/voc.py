"""PASCAL VOC's segmentation masks."""

import logging
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from torchvision.datasets import VOCSegmentation

from bnn_tasks.data.detection.voc_devkit import DEVKIT, VOC_CLASSES, fetch_year
from bnn_tasks.data.findings import DataError, Findings
from bnn_tasks.data.segmentation.base import SegmentationData
from bnn_tasks.data.segmentation.batch import VOID
from bnn_tasks.data.segmentation.coding import IndexCoding, MaskCoding
from bnn_tasks.data.segmentation.dataset import SegmentationRecord
from bnn_tasks.data.segmentation.pairs import Place, chosen, pair
from bnn_tasks.data.voc_files import IMAGE_SUFFIXES, VOCFiles

log = logging.getLogger(__name__)

PUBLISHED = ("train", "val", "trainval", "test")  # lists of VOC's archives


class VOCSegmentationData(SegmentationData):
    """One year of VOC, or a set in its layout: JPEGImages/, SegmentationClass/*.png, ImageSets/Segmentation/<list>.txt.

    21 classes: background, then VOC's 20 in the official order; mask value 255, the objects' rims, is void. A test list
    that is not there is val, unless ``splits`` names it: 2012 publishes no test masks, 2007 does (``splits: {test: test}``).

    SBD (Hariharan et al., 2011), which makes VOC 2012's 1464 training masks 10582, comes as MATLAB files, which are not read
    here. It is common as PNG files in the folder ``SegmentationClassAug``, with a list ``trainaug.txt``: put them into
    the year's folder and set ``masks: SegmentationClassAug`` and ``splits: {train: trainaug}``.

    Args:
        root: the year's folder, such as ``VOCdevkit/VOC2012``.
        sizes: see ``SegmentationData``.
        masks: folder of the masks below ``root``.
        download: fetch the year's archive through torchvision where a list is missing; 2007: 0.9 GB, 2012: 2 GB.
        **kwargs: the other arguments of ``SegmentationData``; ``splits`` says which list is which split.

    Raises:
        ValueError: ``download`` to a folder that is not ``VOCdevkit/VOC<year>``.
    """

    def __init__(
        self,
        root: str | Path,
        sizes: list[tuple[int, int]],
        masks: str = "SegmentationClass",
        download: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, sizes, **kwargs)
        if download and (self.root.parent.name != DEVKIT or not re.fullmatch(r"VOC20(0[7-9]|1[0-2])", self.root.name)):
            raise ValueError(
                f"Expected `root` to be {DEVKIT}/VOC<year>, as the archives have it, where `download` is true, but got "
                f"{str(self.root)!r}. Cure: root: {self.root / DEVKIT / 'VOC2012'}"
            )
        self.masks = masks
        self.download = download

    @property
    def class_names(self) -> list[str]:
        """Background, and VOC's 20 classes in the official order."""
        return ["background", *VOC_CLASSES]

    def coding(self, split: str) -> MaskCoding:
        """Return VOC's numbers, 0..20 and 255.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
        """
        return IndexCoding.of(range(len(self.class_names)), [VOID])

    def prepare_data(self) -> None:
        """Fetch the year where ``download`` says so and a list is missing.

        Raises:
            DataError: it cannot be fetched.
        """
        if self.download:
            lists = {self.splits[split] for split in ("train", "val")}
            if "test" in self._named:
                lists.add(self.splits["test"])
            for name in sorted(lists):
                if (self._lists / f"{name}.txt").is_file():
                    continue
                if name not in PUBLISHED:
                    raise DataError(
                        f"{self.root}: the list {name} is missing, and it is none of VOC's own ({', '.join(PUBLISHED)}), which "
                        "`download` fetches; put it and its masks there, or name another list in `splits`"
                    )
                fetch_year(self.root, name, VOCSegmentation)

    def read(self, split: str, findings: Findings) -> list[SegmentationRecord]:
        """List a split, sorted by name.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            findings: takes listed names without a picture or a mask.
        """
        name = self._list(split)
        names = self._files.names(name)
        for missing in (image for image in names if image not in self._files.images):
            findings.error(
                f"{self._lists / name}.txt: there is no picture {self._pictures.wanted(missing)}; add it, or remove the name "
                "(one name a line, no suffix, no second column)"
            )
        pictures = chosen(names, self._files.images)
        return pair(pictures, chosen(list(pictures), self._files.annotations), (self._pictures, self._masks), findings)

    @property
    def _pictures(self) -> Place:
        return Place(self.root / "JPEGImages", IMAGE_SUFFIXES)

    @property
    def _masks(self) -> Place:
        return Place(self.root / self.masks, {".png"})

    @property
    def _lists(self) -> Path:
        return self.root / "ImageSets" / "Segmentation"

    @cached_property
    def _files(self) -> VOCFiles:
        return VOCFiles(self._pictures.files(), self._masks.files(), self._lists)

    def _list(self, split: str) -> str:
        name = self.splits[split]
        if split == "test" and "test" not in self._named and not (self._lists / "test.txt").is_file():
            log.info("%s: no test list, so the test split is the val split", self.root)
            return self.splits["val"]
        return name
