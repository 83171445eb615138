"""The confusion matrix of a classifier, counted and drawn."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

MOST_NUMBERS = 30  # classes up to which every cell says its count
MOST_NAMES = 150  # classes up to which every row says its name; a larger matrix is named in steps
NAME = 18  # characters of a name that are drawn


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
    count = len(classes)
    side = min(2.5 + 0.42 * count if count <= MOST_NUMBERS else 2.5 + 0.115 * count, 20.0)  # inches
    figure = Figure(figsize=(max(side, 4.5) + 0.8, max(side, 4.5)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    # The square root shows rare confusions, which on a linear scale would be as white as none.
    image = axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    step = -(-count // MOST_NAMES)
    names = [name if len(name) <= NAME else name[: NAME - 1] + "…" for name in classes]
    size = 9 if count <= MOST_NUMBERS else 6
    axes.set_xticks(range(0, count, step), names[::step], rotation=90, fontsize=size)
    axes.set_yticks(range(0, count, step), names[::step], fontsize=size)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    total = int(matrix.sum())
    right = int(matrix.trace())
    axes.set_title(f"{right} of {total} images right ({right / max(total, 1):.1%})", fontsize=10)
    if count <= MOST_NUMBERS:
        for row, column in np.argwhere(matrix):
            colour = "white" if share[row, column] > 0.35 else "black"
            text = f"{matrix[row, column]}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9 - 0.8 * (len(text) - 1))
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    ticks = np.array([0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0])
    bar.set_ticks(np.sqrt(ticks).tolist(), labels=[f"{tick:.0%}" for tick in ticks])
    bar.set_label("share of the true class")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", pad_inches=0.1)
