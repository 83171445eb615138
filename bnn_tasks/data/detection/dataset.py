"""Images and their objects as a torch data set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from bnn_tasks.data.detection.batch import DetectionSample, DetectionTarget
from bnn_tasks.data.detection.view import DetectionAugment, View
from bnn_tasks.data.findings import DataError
from bnn_tasks.data.replacement import FirstReadable
from bnn_tasks.runtime.images import Placement, Resize, Size, read_image, to_channels


@dataclass(frozen=True)
class Record:
    """One image's annotation, in original pixels.

    Attributes:
        image_id: positive, unique in its split.
        path: of the image file.
        height: of the image as ``read_image`` gives it.
        width: of the image as ``read_image`` gives it.
        boxes: (N, 4) float64 xyxy.
        labels: (N,) int64 in 0..K-1.
        difficult: (N,) bool.
        crowd: (N,) bool.
        area: (N,) float64, square pixels.
        ignore: (N,) bool; neither positive nor negative in the loss.
        name: of the image file, below the folder of the images.
    """

    image_id: int
    path: Path
    height: int
    width: int
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray
    area: np.ndarray
    ignore: np.ndarray
    name: str


def learnt_labels(records: Sequence[Record]) -> set[int]:
    """The labels that have an object that is not to be ignored.

    Args:
        records: of the train split.
    """
    return {int(label) for record in records for label in record.labels[~record.ignore]}


class DetectionDataset(Dataset[DetectionSample]):
    """Reads images, fits them to a canvas, and moves their boxes along.

    Args:
        records: the images; at least one.
        resize: how an image becomes a canvas.
        augment: draws the canvas another way each time, from one image or from several; None shows the image as it is.
        replace_damaged: the next readable image takes the place of an unreadable one, whose name goes with the
            sample. False makes it an error: a score must be over all images.
        channels: of the canvas; 3 is RGB, 1 its luma.
        read: image path -> (height, width, 3) uint8 RGB; it raises ``ImageError``.
    """

    def __init__(
        self,
        records: Sequence[Record],
        resize: Resize,
        augment: DetectionAugment | None = None,
        replace_damaged: bool = False,
        channels: int = 3,
        read: Callable[[Path], np.ndarray] = read_image,
    ) -> None:
        self.records = list(records)
        self.resize = resize
        self.augment = augment
        self.channels = channels
        self.read = read
        self.sizes: list[Size] = [resize.bucket(record.height, record.width) for record in self.records]
        self._first_readable = FirstReadable(len(self.records), self._name, replace_damaged)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> DetectionSample:
        """Return one sample, on the canvas size that belongs to ``index``.

        Args:
            index: 0..len-1.

        Raises:
            ImageError: the image cannot be read and may not be replaced, or no image can be read.
            DataError: the image has another size than its annotation.
        """
        damaged: list[str] = []
        if self.augment is None:
            record, image = self._read(index, damaged)
            return self._plain(record, image, self.sizes[index], damaged)
        others = torch.randint(len(self), (self.augment.pictures() - 1,)).tolist()
        shown = [self._read(place, damaged) for place in (index, *others)]
        canvas, views = self.augment.compose([image for _, image in shown], self.resize, self.sizes[index])
        records = [record for record, _ in shown]
        target = (_augmented if len(records) == 1 else _joined)(records, views, self.sizes[index])
        return DetectionSample(to_channels(canvas, self.channels), target, damaged)

    def _read(self, index: int, damaged: list[str]) -> tuple[Record, np.ndarray]:
        place, image = self._first_readable(index, self._load, damaged)
        return self.records[place], image

    def _load(self, place: int) -> np.ndarray:
        record = self.records[place]
        image = self.read(record.path)
        if image.shape[:2] != (record.height, record.width):
            raise DataError(
                f"{record.path}: the image is {image.shape[1]}x{image.shape[0]} pixels, but its annotation is for "
                f"{record.width}x{record.height}; annotate the file as it is, its EXIF orientation applied"
            )
        return image

    def _name(self, place: int) -> str:
        return self.records[place].name

    def _plain(self, record: Record, image: np.ndarray, size: Size, damaged: list[str]) -> DetectionSample:
        canvas, placement = self.resize.fit(image, size=size)
        boxes, _ = View(placement, (0, 0, size[1], size[0])).boxes(record.boxes, record.ignore)
        target = _target(record, placement, boxes, np.ones(len(boxes), bool))
        return DetectionSample(to_channels(canvas, self.channels), target, damaged)


def _augmented(records: Sequence[Record], views: Sequence[View], size: Size) -> DetectionTarget:
    """The objects of one image that stay."""
    boxes, kept = views[0].boxes(records[0].boxes, records[0].ignore)
    return _target(records[0], views[0].placement, boxes, kept)


def _joined(records: Sequence[Record], views: Sequence[View], size: Size) -> DetectionTarget:
    """The objects of several images on one canvas, as if the canvas were the image."""
    moved = [view.boxes(record.boxes, record.ignore) for record, view in zip(records, views, strict=True)]
    kept = np.concatenate([stays for _, stays in moved])
    boxes = np.concatenate([found for found, _ in moved])
    canvas = Record(
        image_id=records[0].image_id,
        path=records[0].path,
        height=size[0],
        width=size[1],
        boxes=boxes,
        labels=np.concatenate([record.labels for record in records]),
        difficult=np.concatenate([record.difficult for record in records]),
        crowd=np.concatenate([record.crowd for record in records]),
        area=(boxes[:, 2:] - boxes[:, :2]).prod(1),
        ignore=np.concatenate([record.ignore for record in records]),
        name=" + ".join(record.name for record in records),
    )
    return _target(canvas, Placement(1.0, 1.0, 0.0, 0.0, size[1], size[0]), boxes, kept)


def _target(record: Record, placement: Placement, boxes: np.ndarray, kept: np.ndarray) -> DetectionTarget:
    flat = (boxes[:, 2:] <= boxes[:, :2]).any(1)  # only a sliver at the edge was inside: nothing to learn from
    return DetectionTarget(
        boxes=torch.from_numpy(boxes[kept]),
        labels=torch.from_numpy(record.labels[kept]),
        ignore=torch.from_numpy((record.ignore | flat)[kept]),
        crowd=torch.from_numpy(record.crowd[kept]),
        difficult=torch.from_numpy(record.difficult[kept]),
        area=_float32(record.area[kept]),
        image_boxes=_float32(record.boxes[kept]),
        image_id=record.image_id,
        file_name=record.name,
        placement=placement,
    )


def _float32(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
