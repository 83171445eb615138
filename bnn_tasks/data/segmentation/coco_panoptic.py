"""COCO's panoptic masks: a JSON file that says what the segments of PNG files are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bnn_tasks.data.coco_file import COCO_SOURCE
from bnn_tasks.data.findings import DataError, Findings
from bnn_tasks.data.segmentation.base import SegmentationData
from bnn_tasks.data.segmentation.batch import VOID
from bnn_tasks.data.segmentation.coding import MOST_CLASSES, MaskCoding, pack, relabel
from bnn_tasks.data.segmentation.dataset import SegmentationRecord
from bnn_tasks.data.segmentation.masks import read_colours
from bnn_tasks.data.segmentation.pairs import Place, chosen, pair
from bnn_tasks.data.voc_files import IMAGE_SUFFIXES

SEGMENT_CURE = "correct the mask, or add these ids to the picture's segments_info in the JSON file"


class PanopticCoding(MaskCoding):
    """Masks whose colours are segment ids, R + 256 G + 65536 B, 0 being void (the COCO panoptic format).

    Args:
        segments: label of each segment id, by mask file name without suffix.
    """

    def __init__(self, segments: Mapping[str, Mapping[int, int]]) -> None:
        self.segments = segments

    def read(self, path: Path) -> np.ndarray:
        """Read one mask; see ``MaskCoding``."""
        return relabel(pack(read_colours(path)), {0: VOID, **self.segments[path.stem]}, path, SEGMENT_CURE)


class PanopticFile(NamedTuple):
    """A panoptic JSON file.

    Attributes:
        names: of the categories, sorted by id; the label is the position.
        segments: label of each segment id, by mask file name without suffix.
        faults: of single entries, which are left out.
    """

    names: list[str]
    segments: dict[str, dict[int, int]]
    faults: list[str]


class CocoPanopticData(SegmentationData):
    """COCO panoptic (Kirillov et al., 2019) as semantic masks: things and stuff alike are classes, instances are joined.

    The classes are the file's categories in the order of their ids: COCO 2017 has 133. Below ``root``: the pictures in
    <split>2017/, annotations/panoptic_<split>2017.json and the masks in annotations/panoptic_<split>2017/. The test split is
    val, since COCO publishes no test masks.

    Args:
        root: folder of the set.
        sizes: see ``SegmentationData``.
        images: folder of the pictures below ``root``; ``{split}`` stands for the split's name.
        annotations: JSON file below ``root``; the masks are in the folder of its name without suffix.
        splits: see ``SegmentationData``.
        **kwargs: the other arguments of ``SegmentationData``.
    """

    def __init__(
        self,
        root: str | Path,
        sizes: list[tuple[int, int]],
        images: str = "{split}2017",
        annotations: str = "annotations/panoptic_{split}2017.json",
        splits: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, sizes, splits={"test": "val"} | (splits or {}), **kwargs)
        self.images = images
        self.annotations = annotations
        self._files: dict[str, PanopticFile] = {}

    @property
    def class_names(self) -> list[str]:
        """The category names of the train file, in the order of their ids."""
        names = self._file("train").names
        if len(set(names)) < len(names):
            raise DataError(self._file("train").faults[0])
        if len(names) > MOST_CLASSES:
            raise DataError(
                f"{self._path('train')}: {len(names)} categories, but labels are 0..{MOST_CLASSES - 1} and 255 is void; leave "
                "some out"
            )
        return list(names)

    def coding(self, split: str) -> MaskCoding:
        """Return the segments of a split's file.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.

        Raises:
            DataError: the file cannot be read, or has other categories than the train file.
        """
        if self._file(split).names != self.class_names:
            raise DataError(f"{self._path(split)}: its categories are not those of the train split; make them equal")
        return PanopticCoding(self._file(split).segments)

    def read(self, split: str, findings: Findings) -> list[SegmentationRecord]:
        """List the pictures of a split's file, sorted by name.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            findings: takes what the file names and the folders lack.
        """
        for fault in self._file(split).faults:
            findings.error(fault)
        names = sorted(self._file(split).segments)
        images = Place(self.root / self.images.replace("{split}", self.splits[split]), IMAGE_SUFFIXES)
        masks = Place(self._path(split).with_suffix(""), {".png"})
        pictures = images.files()
        for name in (name for name in names if name not in pictures):
            findings.error(
                f"{self._path(split)}: there is no picture {images.wanted(name)}; add it, or remove its entry"
            )
        pictures = chosen(names, pictures)
        return pair(pictures, chosen(list(pictures), masks.files()), (images, masks), findings)

    def _path(self, split: str) -> Path:
        return self.root / self.annotations.replace("{split}", self.splits[split])

    def _file(self, split: str) -> PanopticFile:
        name = self.splits[split]
        if name not in self._files:
            self._files[name] = read_panoptic(self._path(split))
        return self._files[name]


def read_panoptic(path: Path) -> PanopticFile:
    """Read a panoptic JSON file.

    Args:
        path: of the file.

    Raises:
        DataError: it is not there, or is no such file.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); correct `annotations`; {COCO_SOURCE}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable as JSON ({error}); fetch or write it again") from error
    try:
        return _panoptic(content, path)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(
            f"{path}: expected a COCO panoptic file, of categories (id, name) and annotations (file_name, segments_info of "
            f"id and category_id), but met {type(error).__name__}: {error}; fetch or write it again"
        ) from error


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"an id that is no integer, {value!r}")
    return value


def _panoptic(content: Any, path: Path) -> PanopticFile:
    faults: list[str] = []
    names: dict[int, str] = {}
    for place, entry in enumerate(content["categories"]):
        id_, name = _integer(entry["id"]), str(entry["name"])
        if id_ in names or name in names.values():
            faults.append(f"{path}: categories[{place}]: a second category of id {id_} or name {name!r}; remove one")
        names.setdefault(id_, name)
    label = {id_: place for place, id_ in enumerate(sorted(names))}
    segments: dict[str, dict[int, int]] = {}
    for place, entry in enumerate(content["annotations"]):
        where, stem = f"{path}: annotations[{place}], {entry['file_name']}", Path(entry["file_name"]).stem
        if stem in segments:
            faults.append(f"{where}: a second annotation of this picture; remove one")
            continue
        segments[stem] = {}
        for segment in entry["segments_info"]:
            id_, category = _integer(segment["id"]), segment["category_id"]
            if not 0 <= id_ < 2**24:
                faults.append(
                    f"{where}: segment {id_} is beyond what three colours hold; give it an id in 1..{2**24 - 1}"
                )
            elif id_ in {0, *segments[stem]}:
                faults.append(f"{where}: segment {id_} is {'there twice' if id_ else 'void'}; give it an id of its own")
            elif category not in label:
                faults.append(
                    f"{where}: segment {id_} has category {category!r}, which the file lacks; correct one of them"
                )
            else:
                segments[stem][id_] = label[category]
    return PanopticFile([names[id_] for id_ in sorted(names)], segments, faults)
