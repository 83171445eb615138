"""What every data module of the suite offers, whatever its task: classes, the resize rule, stages, a check."""

from abc import ABC, abstractmethod
from pathlib import Path

from lightning.pytorch import LightningDataModule

from bnn_tasks.data.report import DataReport
from bnn_tasks.runtime.images import Resize, Size

SPLITS = ("train", "val", "test")
STAGES = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}


class ImageData(LightningDataModule, ABC):
    """Pictures of one set for training and evaluation; predict reads the test split.

    Args:
        root: of the set.
        sizes: (height, width) of the net's inputs, each side 1..8192.
        rule: ``"letterbox"`` or ``"stretch"``, see ``Resize``.
        batch_size: images in a batch, at least 1.
        num_workers: processes that read images; 0 reads in the main process.

    Attributes:
        channels: of the images in a batch; 3 is RGB.

    Raises:
        ValueError: a value out of its range.
    """

    channels: int = 3

    def __init__(
        self, root: str | Path, sizes: list[Size], rule: str = "letterbox", batch_size: int = 8, num_workers: int = 0
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"Expected `batch_size` to be at least 1, but got {batch_size}")
        if num_workers < 0:
            raise ValueError(f"Expected `num_workers` to be at least 0, but got {num_workers}")
        self.root = Path(root)
        self.resize = Resize(tuple((height, width) for height, width in sizes), rule)
        self.batch_size = batch_size
        self.num_workers = num_workers

    @property
    @abstractmethod
    def class_names(self) -> list[str]:
        """The K class names in label order; known before ``setup``."""

    @abstractmethod
    def setup(self, stage: str) -> None:
        """Read what the splits of a stage need.

        Args:
            stage: ``"fit"``, ``"validate"``, ``"test"`` or ``"predict"``.

        Raises:
            DataError: what is wrong with the set; the first of it.
        """

    @abstractmethod
    def check(self) -> DataReport:
        """Read every picture of every split and list everything that is wrong; nothing stops it."""


def check_split(split: str) -> None:
    """Raise unless a split is one of ``SPLITS``.

    Args:
        split: its name.

    Raises:
        ValueError: it is not.
    """
    if split not in SPLITS:
        raise ValueError(f"Expected `split` to be one of {SPLITS}, but got {split!r}")


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise unless a value is in a range.

    Args:
        name: of the argument.
        value: of the argument.
        low: least value.
        high: largest value.

    Raises:
        ValueError: it is not, or it is NaN.
    """
    if not low <= value <= high:
        raise ValueError(f"Expected `{name}` to be in [{low}, {high}], but got {value}")
