"""A matplotlib figure that no window system is asked for, and a table of shares in it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of 120 dots an inch.

    Args:
        width: in inches.
        height: in inches.
    """
    figure = Figure((width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def draw_shares(axes: Axes, table: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> AxesImage:
    """Draw a heat map with its numbers, in percent.

    Args:
        axes: to draw in.
        table: (R, C) in [0, 1].
        rows: R names.
        columns: C names.
    """
    image = axes.imshow(table, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        axes.text(column, row, f"{value:.0%}", ha="center", va="center", color="white" if value < 0.6 else "black")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    return image
