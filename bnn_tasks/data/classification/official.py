"""CIFAR-10, CIFAR-100 and MNIST, as torchvision reads and fetches them."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torchvision import datasets

from bnn_tasks.data.classification.base import ClassificationData
from bnn_tasks.data.classification.pictures import ArraySource, Pictures, Sample
from bnn_tasks.data.findings import DataError, Findings
from bnn_tasks.runtime.images import Size

CIFAR10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"
CIFAR100_CLASSES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
    forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
    mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
    possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
    sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
    willow_tree wolf woman worm
"""


class OfficialData(ClassificationData):
    """A set that torchvision knows, with its official train and test splits; val is held out of train.

    A picture's name is its split and its place in the set's files, ``train/00042``. Grey pictures become RGB of three
    equal channels.

    Args:
        root: folder that the set's own folder is in.
        size: see ``ClassificationData``.
        download: fetch the set where it is missing.
        cache: see ``ClassificationData``.
        **kwargs: the other arguments of ``ClassificationData``.

    Attributes:
        reader: torchvision's class.
        classes: names in label order, between spaces.
        folder: of the set below ``root``.
        source: what belongs in it.
    """

    reader: ClassVar[Any]
    classes: ClassVar[str]
    folder: ClassVar[str]
    source: ClassVar[str]

    def __init__(self, root: str | Path, size: Size, download: bool = False, cache: bool = True, **kwargs: Any) -> None:
        super().__init__(root, size, cache=cache, **kwargs)
        self.download = download

    @property
    def class_names(self) -> list[str]:
        """The class names in label order."""
        return self.classes.split()

    def own_splits(self) -> set[str]:
        """Return train and test."""
        return {"train", "test"}

    def prepare_data(self) -> None:
        """Fetch the set where it is missing and ``download`` says so.

        Raises:
            DataError: it cannot be fetched.
        """
        if self.download:
            self._load("train")

    def read(self, split: str, findings: Findings) -> Pictures:
        """Read a split.

        Args:
            split: ``"train"`` or ``"test"``.
            findings: takes nothing: the files are as they should be, or an error.

        Raises:
            DataError: files are missing or damaged, or cannot be fetched.
        """
        content = self._load(split)
        images = np.asarray(content.data)
        if images.ndim == 3:
            images = np.broadcast_to(images[..., None], (*images.shape, 3))
        names = [f"{split}/{index:05d}" for index in range(len(images))]
        samples = [Sample(name, int(label)) for name, label in zip(names, content.targets)]
        return Pictures(samples, ArraySource(images, names))

    def _load(self, split: str) -> Any:
        place = self.root / self.folder
        try:
            return self.reader(self.root, split == "train", download=self.download)
        except (OSError, RuntimeError, ValueError, AssertionError) as error:  # what torchvision raises on bad files
            if self.download:
                reason = " ".join(str(error).split())  # torchvision's are of several lines
                raise DataError(
                    f"{place}: cannot be fetched or read ({reason}); check the network connection, or delete the folder "
                    f"and put there {self.source}"
                ) from error
            raise DataError(
                f"{place}: files are missing or damaged; set `download` to true, or put there {self.source}"
            ) from error


class CIFAR10Data(OfficialData):
    """CIFAR-10: 50 000 + 10 000 pictures of 32x32, 10 classes (Krizhevsky, 2009).

    Args:
        root: folder that holds ``cifar-10-batches-py/``.
        size: see ``ClassificationData``.
        **kwargs: the other arguments of ``OfficialData``.
    """

    reader = datasets.CIFAR10
    classes = CIFAR10_CLASSES
    folder = datasets.CIFAR10.base_folder
    source = f"the files in {datasets.CIFAR10.url}"

    def __init__(self, root: str | Path, size: Size = (32, 32), **kwargs: Any) -> None:
        super().__init__(root, size, **kwargs)


class CIFAR100Data(OfficialData):
    """CIFAR-100: 50 000 + 10 000 pictures of 32x32, 100 classes (Krizhevsky, 2009).

    Args:
        root: folder that holds ``cifar-100-python/``.
        size: see ``ClassificationData``.
        **kwargs: the other arguments of ``OfficialData``.
    """

    reader = datasets.CIFAR100
    classes = CIFAR100_CLASSES
    folder = datasets.CIFAR100.base_folder
    source = f"the files in {datasets.CIFAR100.url}"

    def __init__(self, root: str | Path, size: Size = (32, 32), **kwargs: Any) -> None:
        super().__init__(root, size, **kwargs)


class MNISTData(OfficialData):
    """MNIST: 60 000 + 10 000 grey pictures of 28x28, 10 digits (LeCun et al., 1998).

    Args:
        root: folder that holds ``MNIST/raw/``.
        size: see ``ClassificationData``.
        **kwargs: the other arguments of ``OfficialData``.
    """

    reader = datasets.MNIST
    classes = "0 1 2 3 4 5 6 7 8 9"
    folder = "MNIST/raw"
    source = f"{', '.join(name for name, _ in datasets.MNIST.resources)} of {datasets.MNIST.mirrors[0]}, unpacked"

    def __init__(self, root: str | Path, size: Size = (28, 28), **kwargs: Any) -> None:
        super().__init__(root, size, **kwargs)
