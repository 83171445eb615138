"""The generated sets as data modules."""

from pathlib import Path
from typing import Any

from bnn_tasks.data.classification.folder import ImageFolderData
from bnn_tasks.data.classification.pictures import Pictures
from bnn_tasks.data.detection.dataset import Record
from bnn_tasks.data.detection.voc import VOCDetectionData
from bnn_tasks.data.findings import Findings
from bnn_tasks.data.segmentation.dataset import SegmentationRecord
from bnn_tasks.data.segmentation.folder import MaskFolderData
from bnn_tasks.data.synthetic.class_folders import generate_classes
from bnn_tasks.data.synthetic.mask_folders import generate_masks
from bnn_tasks.data.synthetic.once import DEFAULT_CLASSES
from bnn_tasks.data.synthetic.writer import generate
from bnn_tasks.runtime.images import Size


class SyntheticDetectionData(VOCDetectionData):
    """A generated set of shapes, drawn on first use; see ``generate``.

    Args:
        root: folder of the set, made when absent.
        sizes: see ``DetectionData``.
        images: at least 5; of every five, three are train, one is val, one is test.
        image_size: (height, width) of the pictures in pixels, each at least 32.
        seed: of the pictures, >= 0.
        shapes: the classes, see ``SHAPES``; by default circle, square, triangle.
        **kwargs: the other arguments of ``VOCDetectionData``.
    """

    def __init__(
        self,
        root: str | Path,
        sizes: list[tuple[int, int]],
        images: int = 600,
        image_size: tuple[int, int] = (240, 320),
        seed: int = 0,
        shapes: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        classes = list(DEFAULT_CLASSES) if shapes is None else shapes
        super().__init__(root, sizes, classes=classes, **kwargs)
        self.images = images
        self.image_size = image_size
        self.seed = seed

    def prepare_data(self) -> None:
        """Draw the set unless it is there."""
        generate(self.root, self.images, self.image_size, self.seed, self.class_names)

    def read(self, split: str, findings: Findings) -> list[Record]:
        """Read a split, drawing the set first unless it is there.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            findings: takes what is wrong.
        """
        self.prepare_data()
        return super().read(split, findings)


class SyntheticClassificationData(ImageFolderData):
    """A generated set of pictures of one shape each, drawn on first use; see ``generate_classes``.

    Args:
        root: folder of the set, made when absent.
        size: (height, width) of the net's inputs.
        images: at least 5 a class; of every five, three are train, one is val, one is test.
        image_size: (height, width) of the pictures in pixels, each at least 32.
        seed: of the pictures, >= 0.
        shapes: the classes, see ``SHAPES``; by default circle, square, triangle.
        **kwargs: the other arguments of ``ClassificationData``.
    """

    def __init__(
        self,
        root: str | Path,
        size: Size = (32, 32),
        images: int = 1000,
        image_size: tuple[int, int] = (32, 32),
        seed: int = 0,
        shapes: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, size, classes=list(DEFAULT_CLASSES) if shapes is None else shapes, **kwargs)
        self.images = images
        self.image_size = image_size
        self.seed = seed

    def prepare_data(self) -> None:
        """Draw the set unless it is there."""
        generate_classes(self.root, self.images, self.image_size, self.seed, self.class_names)

    def own_splits(self) -> set[str]:
        """Return train, val and test."""
        return {"train", "val", "test"}

    def read(self, split: str, findings: Findings) -> Pictures:
        """List a split, drawing the set first unless it is there.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            findings: takes what is wrong.
        """
        self.prepare_data()
        return super().read(split, findings)


class SyntheticSegmentationData(MaskFolderData):
    """A generated set of scenes with masks, drawn on first use; see ``generate_masks``.

    The classes are the background and the shapes.

    Args:
        root: folder of the set, made when absent.
        sizes: see ``SegmentationData``.
        scenes: at least 5; of every five, three are train, one is val, one is test.
        image_size: (height, width) of the pictures in pixels, each at least 32.
        seed: of the pictures, >= 0.
        shapes: the classes after the background, see ``SHAPES``; by default circle, square, triangle.
        **kwargs: the other arguments of ``SegmentationData``.
    """

    def __init__(
        self,
        root: str | Path,
        sizes: list[tuple[int, int]],
        scenes: int = 600,
        image_size: tuple[int, int] = (240, 320),
        seed: int = 0,
        shapes: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.shapes = list(DEFAULT_CLASSES) if shapes is None else shapes
        super().__init__(root, sizes, classes=["background", *self.shapes], **kwargs)
        self.scenes = scenes
        self.image_size = image_size
        self.seed = seed

    def prepare_data(self) -> None:
        """Draw the set unless it is there."""
        generate_masks(self.root, self.scenes, self.image_size, self.seed, self.shapes)

    def read(self, split: str, findings: Findings) -> list[SegmentationRecord]:
        """List a split, drawing the set first unless it is there.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            findings: takes what is wrong.
        """
        self.prepare_data()
        return super().read(split, findings)
