"""Cityscapes in the layout of its archives."""

from pathlib import Path
from typing import Any

from bnn_tasks.data.findings import Findings
from bnn_tasks.data.segmentation.base import SegmentationData
from bnn_tasks.data.segmentation.batch import VOID
from bnn_tasks.data.segmentation.coding import IndexCoding, MaskCoding
from bnn_tasks.data.segmentation.dataset import SegmentationRecord
from bnn_tasks.data.segmentation.pairs import Place, pair

# Of cityscapesScripts, helpers/labels.py: the 19 classes that are evaluated, in the order of their train ids, by id.
CITYSCAPES_IDS = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
LAST_ID = 33
# The end of the mask files' names -> the number of each class, and the numbers that are void.
ENCODINGS = {
    "labelIds": (list(CITYSCAPES_IDS), [id_ for id_ in range(LAST_ID + 1) if id_ not in CITYSCAPES_IDS]),
    "labelTrainIds": (list(range(len(CITYSCAPES_IDS))), [VOID]),
}


class CityscapesData(SegmentationData):
    """Cityscapes (Cordts et al., 2016): leftImg8bit/<split>/<city>/ and gtFine/<split>/<city>/.

    The 19 classes of its benchmark; every other label is void. The test split is val, since the published test masks are void.

    Args:
        root: folder that holds leftImg8bit/ and gtFine/.
        sizes: see ``SegmentationData``.
        encoding: which masks: ``"labelIds"``, as published, or ``"labelTrainIds"``, as cityscapesScripts writes them.
        splits: see ``SegmentationData``.
        **kwargs: the other arguments of ``SegmentationData``.

    Raises:
        ValueError: an unknown encoding.
    """

    def __init__(
        self,
        root: str | Path,
        sizes: list[tuple[int, int]],
        encoding: str = "labelIds",
        splits: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, sizes, splits={"test": "val"} | (splits or {}), **kwargs)
        if encoding not in ENCODINGS:
            raise ValueError(f"Expected `encoding` to be one of {sorted(ENCODINGS)}, but got {encoding!r}")
        self.encoding = encoding

    @property
    def class_names(self) -> list[str]:
        """The 19 classes in the order of their train ids."""
        return list(CITYSCAPES_IDS.values())

    def coding(self, split: str) -> MaskCoding:
        """Return the numbers of the encoding.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
        """
        return IndexCoding.of(*ENCODINGS[self.encoding])

    def read(self, split: str, findings: Findings) -> list[SegmentationRecord]:
        """List a split, sorted by city and name.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            findings: takes pictures without a mask and masks without a picture.
        """
        images = Place(self.root / "leftImg8bit" / self.splits[split], {".png"}, "_leftImg8bit")
        masks = Place(self.root / "gtFine" / self.splits[split], {".png"}, f"_gtFine_{self.encoding}")
        return pair(images.files(), masks.files(), (images, masks), findings)
