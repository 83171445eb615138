"""CamVid with 11 classes, as SegNet's authors publish it."""

from pathlib import Path
from typing import Any

from bnn_tasks.data.segmentation.folder import MaskFolderData

# In label order; Badrinarayanan et al., SegNet, 2017: the 11 classes of their CamVid folder.
CAMVID_CLASSES = (
    *("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist"),
)


class CamVidData(MaskFolderData):
    """CamVid (Brostow et al., 2009) in SegNet's form: train/ and trainannot/, val/ and valannot/, test/ and testannot/.

    11 classes; mask value 11 is void. Where there is no test folder the test split is val. For the original 701 RGB-coded
    masks of 32 classes give ``MaskFolderData`` their ``label_colors.txt``.

    Args:
        root: folder of the set.
        sizes: see ``SegmentationData``; (240, 320) is two thirds of the published 360x480, (360, 480) all of it.
        **kwargs: the other arguments of ``SegmentationData``.
    """

    def __init__(self, root: str | Path, sizes: list[tuple[int, int]], **kwargs: Any) -> None:
        super().__init__(
            root,
            sizes,
            images="{split}",
            masks="{split}annot",
            classes=list(CAMVID_CLASSES),
            void=[11],
            **kwargs,
        )
