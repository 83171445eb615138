"""Classification sets: folders or zip files of pictures, CIFAR, MNIST, generated shapes."""

from bnn_tasks.data.classification.augment import BatchAugment, CropFlip, PictureAugment, RandomResizedCrop
from bnn_tasks.data.classification.base import ClassificationData
from bnn_tasks.data.classification.batch import ClassificationBatch
from bnn_tasks.data.classification.check import ClassificationReport
from bnn_tasks.data.classification.folder import ImageFolderData
from bnn_tasks.data.classification.official import CIFAR10Data, CIFAR100Data, MNISTData
from bnn_tasks.data.classification.pictures import Sample

__all__ = [
    "BatchAugment",
    "CIFAR10Data",
    "CIFAR100Data",
    "ClassificationBatch",
    "ClassificationData",
    "ClassificationReport",
    "CropFlip",
    "ImageFolderData",
    "MNISTData",
    "PictureAugment",
    "RandomResizedCrop",
    "Sample",
]
