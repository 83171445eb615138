"""A matplotlib figure that no window system is asked for."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of 120 dots an inch.

    Args:
        width: in inches.
        height: in inches.
    """
    figure = Figure((width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
