"""Images and their objects as a torch data set."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from bnn_tasks.data.augment import Augment
from bnn_tasks.data.batch import DetectionSample, DetectionTarget
from bnn_tasks.data.findings import DataError
from bnn_tasks.runtime.images import ImageError, Resize, Size, read_image

log = logging.getLogger(__name__)


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


class DetectionDataset(Dataset[DetectionSample]):
    """Reads an image, fits it to its canvas, and moves its boxes along.

    Args:
        records: the images; at least one.
        resize: how an image becomes a canvas.
        augment: chooses another window and other colours; None shows the image as it is.
        replace_damaged: the next readable image takes the place of an unreadable one, whose name goes with the
            sample. False makes it an error: a score must be over all images.
    """

    def __init__(
        self, records: Sequence[Record], resize: Resize, augment: Augment | None = None, replace_damaged: bool = False
    ) -> None:
        self.records = list(records)
        self.resize = resize
        self.augment = augment
        self.replace_damaged = replace_damaged
        self.sizes: list[Size] = [resize.bucket(record.height, record.width) for record in self.records]
        self._warned: set[str] = set()

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
        for step in range(len(self.records)):
            record = self.records[(index + step) % len(self.records)]
            try:
                image = read_image(record.path)
            except ImageError as error:
                if not self.replace_damaged:
                    raise
                self._warn(record, error)
                damaged.append(record.path.name)
                continue
            return self._sample(record, image, self.sizes[index], damaged)
        raise ImageError(f"{self.records[0].path.parent}: none of the {len(self.records)} images can be read")

    def _warn(self, record: Record, error: ImageError) -> None:
        if record.path.name not in self._warned:
            self._warned.add(record.path.name)
            log.warning("%s; the next readable image takes its place", error)

    def _sample(self, record: Record, image: np.ndarray, size: Size, damaged: list[str]) -> DetectionSample:
        if image.shape[:2] != (record.height, record.width):
            raise DataError(
                f"{record.path}: the image is {image.shape[1]}x{image.shape[0]} pixels, but its annotation is for "
                f"{record.width}x{record.height}; annotate the file as it is, its EXIF orientation applied"
            )
        if self.augment is None:
            canvas, placement = self.resize.fit(image, size=size)
            boxes = _clip(placement.to_canvas(record.boxes), size)
            kept = np.ones(len(boxes), bool)
        else:
            canvas, placement = self.augment(image, self.resize, size)
            boxes = placement.to_canvas(record.boxes)
            kept = self.augment.kept(boxes, size)
            boxes = _clip(boxes, size)
        flat = (boxes[:, 2:] <= boxes[:, :2]).any(1)  # only a sliver at the edge was inside: nothing to learn from
        target = DetectionTarget(
            boxes=torch.from_numpy(boxes[kept]),
            labels=torch.from_numpy(record.labels[kept]),
            ignore=torch.from_numpy((record.ignore | flat)[kept]),
            crowd=torch.from_numpy(record.crowd[kept]),
            difficult=torch.from_numpy(record.difficult[kept]),
            area=_float32(record.area[kept]),
            image_boxes=_float32(record.boxes[kept]),
            image_id=record.image_id,
            file_name=record.path.name,
            placement=placement,
        )
        return DetectionSample(canvas, target, damaged)


def _clip(boxes: np.ndarray, size: Size) -> np.ndarray:
    height, width = size
    return boxes.clip(0, np.array([width, height, width, height], np.float32))


def _float32(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
