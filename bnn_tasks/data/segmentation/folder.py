"""Any folder of pictures and masks."""

import logging
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from bnn_tasks.data.findings import DataError, Findings
from bnn_tasks.data.named import VAL_STRIDE, check_class_names, split_by_position
from bnn_tasks.data.segmentation.base import SegmentationData
from bnn_tasks.data.segmentation.batch import VOID
from bnn_tasks.data.segmentation.coding import MOST_CLASSES, ColourCoding, IndexCoding, MaskCoding
from bnn_tasks.data.segmentation.colours import check_colours, read_colour_table
from bnn_tasks.data.segmentation.dataset import SegmentationRecord
from bnn_tasks.data.segmentation.pairs import Place, chosen, pair
from bnn_tasks.data.voc_files import IMAGE_SUFFIXES

log = logging.getLogger(__name__)

CLASSES_FILE = "classes.txt"
SPLIT = "{split}"


class MaskFolderData(SegmentationData):
    """A folder of pictures and a folder of masks, which belong together where their names without suffix are the same.

    ``images`` and ``masks`` are folders below ``root`` in which ``{split}`` stands for the split's name: ``images/{split}``
    and ``masks/{split}`` by default, ``{split}`` and ``{split}annot`` in SegNet's CamVid. Without ``{split}`` every fifth
    of the sorted names is val, the others are train, and test is val. Folders below these are searched too.

    Masks are index masks (paletted, or grey of 1 to 16 bits), or, with ``colours``, RGB-coded ones. JPEG is refused, since it
    changes values.

    Args:
        root: folder of the set.
        sizes: see ``SegmentationData``.
        images: folder of the pictures.
        masks: folder of the masks.
        mask_end: what a mask's name has after the picture's, such as ``_mask`` for a.jpg and a_mask.png.
        classes: names in label order, 1..255 of them. By default the lines of ``classes.txt`` below ``root``, or else the
            names in ``colours``.
        values: the mask value of each class in label order, for masks that do not count from 0 or have gaps; by default
            0..K-1.
        void: mask values that are void, neither learnt nor judged.
        colours: for RGB-coded masks: [red, green, blue] of each name, or the name of a file below ``root`` that says so, see
            ``read_colour_table``. A name that is not in ``classes`` is void.
        **kwargs: the other arguments of ``SegmentationData``.

    Raises:
        ValueError: a value out of its range, ``{split}`` in one of the two folders only, one folder in the other so that files
            of both kinds are found, or ``values`` with ``colours``, or one folder for both without ``mask_end``.
    """

    def __init__(
        self,
        root: str | Path,
        sizes: list[tuple[int, int]],
        images: str = "images/{split}",
        masks: str = "masks/{split}",
        mask_end: str = "",
        classes: list[str] | None = None,
        values: list[int] | None = None,
        void: Sequence[int] = (VOID,),
        colours: dict[str, list[int]] | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, sizes, **kwargs)
        if (SPLIT in images) != (SPLIT in masks):
            raise ValueError(
                f"Expected both `images` and `masks` to have {SPLIT}, or neither, but got {images!r} and {masks!r}. Cure: "
                f"images: images/{SPLIT}, masks: masks/{SPLIT}, or folders that all splits share"
            )
        _check_apart(self.root, images, masks, mask_end)
        if colours is not None and (values is not None or tuple(void) != (VOID,)):
            raise ValueError(
                "Expected `values` and `void` to be left out where `colours` are given, since they are numbers of index masks. "
                "Cure: a colour whose name is not in `classes` is void"
            )
        if classes is not None:
            check_class_names(classes, most=MOST_CLASSES)
            if values is not None and len(values) != len(classes):
                raise ValueError(
                    f"Expected `values` to be one number a class, but got {len(values)} for {len(classes)} classes"
                )
        if isinstance(colours, dict):
            check_colours(colours, "`colours`")
        self.images = images
        self.masks = masks
        self.mask_end = mask_end
        self.values = values
        self.void = list(void)
        self._given_classes = classes
        self._given_colours = colours
        if classes is not None and colours is None:
            IndexCoding.of(range(len(classes)) if values is None else values, self.void)

    @cached_property
    def _names(self) -> list[str]:
        file = self.root / CLASSES_FILE
        if self._given_classes is not None:
            return list(self._given_classes)
        if file.is_file():
            try:
                names = [line.strip() for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
                check_class_names(names, str(file), MOST_CLASSES)
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(
                    f"{file}: the class names cannot be read ({error}); write one a line, in UTF-8"
                ) from error
            except ValueError as error:
                raise DataError(str(error)) from error
            return names
        if self._colours is not None:
            return list(self._colours)
        raise DataError(f"{file}: no such file, and no `classes`; give the class names in label order in either place")

    @cached_property
    def _colours(self) -> dict[str, list[int]] | None:
        if isinstance(self._given_colours, str):
            return read_colour_table(self.root / self._given_colours)
        return self._given_colours

    @cached_property
    def _coding(self) -> MaskCoding:
        names = self.class_names
        if self._colours is None:
            values = list(range(len(names))) if self.values is None else self.values
            if len(values) != len(names):
                raise DataError(
                    f"{self.root}: `values` has {len(values)} numbers for {len(names)} classes; give one each"
                )
            try:
                return IndexCoding.of(values, self.void)
            except ValueError as error:
                raise DataError(f"{self.root}: {error}") from error
        if missing := [name for name in names if name not in self._colours]:
            raise DataError(f"{self.root}: classes without a colour: {', '.join(missing)}; add them to `colours`")
        label = {name: place for place, name in enumerate(names)}
        return ColourCoding(
            {(red, green, blue): label.get(name, VOID) for name, (red, green, blue) in self._colours.items()}
        )

    @property
    def class_names(self) -> list[str]:
        """The class names in label order: as given, or as in ``classes.txt``, or as in the colour table."""
        return list(self._names)

    def coding(self, split: str) -> MaskCoding:
        """Return what the masks' values mean, the same in every split.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.

        Raises:
            DataError: there are no class names, or they do not agree with the values or colours.
        """
        return self._coding

    def read(self, split: str, findings: Findings) -> list[SegmentationRecord]:
        """List a split, sorted by name.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            findings: takes pictures without a mask and masks without a picture.
        """
        name = self.splits[split]
        if (
            split == "test"
            and "test" not in self._named
            and (SPLIT not in self.images or not self._folder(self.images, name).is_dir())
        ):
            log.info("%s: no test split, so the test split is the val split", self.root)
            name = self.splits["val"]
        places = (
            Place(self._folder(self.images, name), IMAGE_SUFFIXES),
            Place(self._folder(self.masks, name), IMAGE_SUFFIXES, self.mask_end),
        )
        pictures, masks = (place.files() for place in places)
        if places[0].folder == places[1].folder:
            found = set(masks.values())
            pictures = {name: path for name, path in pictures.items() if path not in found}
        if SPLIT not in self.images:
            names = _by_position(name, sorted({*pictures, *masks}), places[0].folder)
            pictures, masks = chosen(names, pictures), chosen(names, masks)
        return pair(pictures, masks, places, findings)

    def _folder(self, pattern: str, split: str) -> Path:
        return self.root / pattern.replace(SPLIT, split)


def _by_position(split: str, names: list[str], folder: Path) -> list[str]:
    train, val = split_by_position(names)
    if not val:
        raise DataError(
            f"{folder}: {len(names)} pictures are too few to split; give at least {VAL_STRIDE}, or folders for each split"
        )
    if split not in ("train", "val"):
        raise DataError(f"{folder}: expected split 'train' or 'val' of a set without split folders, but got {split!r}")
    if split == "val":
        log.info("%s: no folders for each split, so every fifth picture by name is the val split", folder)
        return val
    return train


def _check_apart(root: Path, images: str, masks: str, mask_end: str) -> None:
    """Raise where the search of one folder meets the files of the other; masks that an ending tells may lie above."""
    pictures, labels = (Path(os.path.normpath(root / folder)) for folder in (images, masks))
    if pictures == labels:
        if not mask_end:
            raise ValueError(
                f"Expected `mask_end` where pictures and masks are in one folder, but both are in {images!r} and "
                "nothing tells them apart. Cure: mask_end: _mask for a.jpg and a_mask.png; or two folders"
            )
        return
    if labels.is_relative_to(pictures) or (not mask_end and pictures.is_relative_to(labels)):
        raise ValueError(
            f"Expected `images` and `masks` to be two folders apart, since folders below them are searched too, but got "
            f"{images!r} and {masks!r}, of which one lies in the other. Cure: images: images, masks: masks, side by side; or "
            "all files in one folder, and `mask_end`"
        )
