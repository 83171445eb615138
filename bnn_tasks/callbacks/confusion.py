"""The confusion matrix of a classifier, counted and drawn."""

from pathlib import Path

import numpy as np

from bnn_tasks.callbacks.matrix_picture import draw_matrix


def confusion_matrix(pairs: np.ndarray, classes: int) -> np.ndarray:
    """How often each true class was taken for each class.

    Args:
        pairs: (N, 2) integers in [0, K): true class, predicted class.
        classes: K.

    Returns:
        (K, K) int64; row: true class, column: predicted class.
    """
    return np.bincount(pairs[:, 0] * classes + pairs[:, 1], minlength=classes * classes).reshape(classes, classes)


def draw_confusion(matrix: np.ndarray, classes: list[str], path: Path) -> None:
    """Draw a confusion matrix: the colour is the share of the true class's images, the numbers are counts.

    Args:
        matrix: (K, K) counts, row: true class.
        classes: K names.
        path: of the PNG.
    """
    total, right = int(matrix.sum()), int(matrix.trace())
    title = f"{right} of {total} images right ({right / max(total, 1):.1%})"
    draw_matrix(matrix, classes, classes, title, ("true", "predicted"), path)
