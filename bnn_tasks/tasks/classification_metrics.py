"""Accuracy over a whole set, and the predictions it is made of."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

TOP = 5


@dataclass  # not frozen: Lightning moves what predict_step returns to the CPU, field by field
class ImageClassification:
    """What the net says about one image.

    Attributes:
        file_name: of the image.
        label: the true class, in [0, K).
        probabilities: (K,) float32, of sum 1.
    """

    file_name: str
    label: int
    probabilities: np.ndarray

    @property
    def predicted(self) -> int:
        """The most probable class, in [0, K); the lower label where two are equal."""
        return int(self.probabilities.argmax())


class ClassificationMetrics(nn.Module):
    """Top-1, top-5, accuracy by class and confusion matrix over a whole set (torchmetrics).

    Args:
        classes: the K class names.
    """

    def __init__(self, classes: list[str]) -> None:
        super().__init__()
        self.classes = list(classes)
        count = max(len(classes), 2)  # torchmetrics refuses one class, of which every accuracy is 1
        self.confusion = MulticlassConfusionMatrix(count)
        self.top5 = MulticlassAccuracy(count, top_k=TOP, average="micro") if len(classes) > TOP else None

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            probabilities: (N, K) float32.
            labels: (N,) int64 in [0, K).
        """
        self.confusion.update(probabilities.argmax(1), labels)
        if self.top5 is not None:
            self.top5.update(probabilities, labels)

    def compute(self) -> dict[str, float]:
        """All metrics by name, each in [0, 1], higher is better.

        ``top1``; ``top5`` only where K > 5 (of five classes or fewer it would always be 1); ``accuracy/CLASS``, the share
        of a class's images that are found, NaN where the set has none.
        """
        matrix = self.confusion.compute().double()
        right = matrix.diagonal()
        values = {"top1": float(right.sum() / matrix.sum())}
        if self.top5 is not None:
            values["top5"] = float(self.top5.compute())
        by_class = torch.where(matrix.sum(1) > 0, right / matrix.sum(1), torch.nan).tolist()
        return values | {f"accuracy/{name}": value for name, value in zip(self.classes, by_class)}

    def reset(self) -> None:
        """Forget everything."""
        self.confusion.reset()
        if self.top5 is not None:
            self.top5.reset()
