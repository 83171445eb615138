"""Draws a matrix of counts whose rows and columns have names."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from bnn_tasks.callbacks.canvas import new_figure
from bnn_tasks.callbacks.short_name import short_name

MOST_NUMBERS = 30  # rows up to which every cell says its count
MOST_NAMES = 150  # rows up to which each says its name; a larger matrix is named in steps


def count_text(count: int, share: float) -> str:
    """The count itself."""
    return f"{count}"


def percent_text(count: int, share: float) -> str:
    """The share of the row in percent, for counts that are too long to write: of pixels, say; nothing below half a percent."""
    return f"{share:.0%}" if share >= 0.005 else ""


def draw_matrix(
    matrix: np.ndarray,
    rows: list[str],
    columns: list[str],
    title: str,
    axes_names: tuple[str, str],
    path: Path,
    cell_text: Callable[[int, float], str] = count_text,
) -> None:
    """Draw counts: the colour is the share of the row, and a cell says `cell_text`, where there are at most 30 rows.

    Args:
        matrix: (R, C) counts.
        rows: R names.
        columns: C names.
        title: above the picture.
        axes_names: what rows and what columns are.
        path: of the PNG.
        cell_text: (count, share of the row) -> what a cell that is not 0 says.
    """
    count = max(len(rows), len(columns))
    side = max(min(2.5 + 0.42 * count if count <= MOST_NUMBERS else 2.5 + 0.115 * count, 20.0), 4.5)  # inches
    figure = new_figure(side + 0.8, side)
    axes = figure.add_subplot()
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    # The square root shows rare confusions, which on a linear scale would be as white as none.
    image = axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    size = 9 if count <= MOST_NUMBERS else 6
    step = -(-count // MOST_NAMES)
    for set_ticks, names, turn in ((axes.set_xticks, columns, 90), (axes.set_yticks, rows, 0)):
        short = [short_name(name) for name in names]
        set_ticks(range(0, len(short), step), short[::step], rotation=turn, fontsize=size)
    axes.set_ylabel(axes_names[0])
    axes.set_xlabel(axes_names[1])
    figure.suptitle(title, fontsize=10)
    if count <= MOST_NUMBERS:
        for row, column in np.argwhere(matrix):
            colour = "white" if share[row, column] > 0.35 else "black"
            text = cell_text(int(matrix[row, column]), float(share[row, column]))
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9 - 0.8 * (len(text) - 1))
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    ticks = np.array([0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0])
    bar.set_ticks(np.sqrt(ticks).tolist(), labels=[f"{tick:.0%}" for tick in ticks])
    bar.set_label("share of the row")
    path.parent.mkdir(parents=True, exist_ok=True)
    # The layout reckons with axes that fill their cell; those of an image are square, and their labels may lie outside.
    figure.savefig(path, bbox_inches="tight", pad_inches=0.1)
