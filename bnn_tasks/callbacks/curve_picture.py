"""Draws a precision–recall curve for every class."""

from pathlib import Path

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from bnn_tasks.callbacks.canvas import new_figure
from bnn_tasks.callbacks.short_name import short_name
from bnn_tasks.metrics import VOCResult

MOST_COLOURS = 10  # classes that one plot tells apart, the colours of matplotlib's tab10; more get a panel each
COLUMNS = 10  # panels in a row, at most
PITCH = (1.16, 1.48)  # from panel to panel, in sides of a panel


def draw_precision_recall(result: VOCResult, classes: list[str], title: str, path: Path) -> None:
    """Draw the curves: up to ten classes in one plot, its legend saying each AP; more in a panel each, its title saying it.

    Args:
        result: K curves; a class without objects has none.
        classes: K names.
        title: above the picture.
        path: of the PNG.
    """
    if len(classes) <= MOST_COLOURS:
        figure = _together(result, classes)
    else:
        figure, title = _panels(result, classes), f"{title}; by class AP50 (objects)"
    figure.suptitle(title, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _ap(result: VOCResult, label: int) -> str:
    return "no objects" if np.isnan(result.ap[label]) else f"{result.ap[label]:.3f}"


def _curve(result: VOCResult, label: int) -> np.ndarray:
    """(D + 1, 2) recall and precision from recall 0 on; a class without objects or detections has an empty one."""
    recall, precision = result.recall[label], result.precision[label]
    if np.isnan(result.ap[label]) or len(recall) == 0:
        return np.zeros((0, 2))
    return np.stack([np.append(0.0, recall), np.append(precision[0], precision)], axis=1)


def _together(result: VOCResult, classes: list[str]) -> Figure:
    figure = new_figure(7.5, 4.8)
    axes = figure.add_subplot()
    for label, name in enumerate(classes):
        text = f"{short_name(name)}: AP50 {_ap(result, label)} ({int(result.positives[label])} objects)"
        axes.plot(*_curve(result, label).T, linewidth=1.6, label=text)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.legend(loc="lower left", fontsize=8)
    return figure


def _panels(result: VOCResult, classes: list[str]) -> Figure:
    """Panels of side 1 in one plot: matplotlib takes seconds to lay out and draw eighty plots."""
    columns = min(COLUMNS, -(-len(classes) // 3))
    rows = -(-len(classes) // columns)
    figure = new_figure(1.5 * columns + 0.7, 1.9 * rows + 0.8)
    axes = figure.add_subplot()
    frame = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]])
    middle = [np.array([[0.5, 0], [0.5, 1]]), np.array([[0, 0.5], [1, 0.5]])]
    corners = [np.array([PITCH[0] * (k % columns), -PITCH[1] * (k // columns)]) for k in range(len(classes))]
    curves = [_curve(result, label) + corner for label, corner in enumerate(corners)]
    axes.add_collection(LineCollection([line + corner for corner in corners for line in middle], colors="0.9", lw=0.6))
    axes.add_collection(LineCollection([frame + corner for corner in corners], colors="0.4", lw=0.7))
    axes.add_collection(LineCollection(curves, colors="C0", lw=1.3))
    for label, (corner, name) in enumerate(zip(corners, classes)):
        text = f"{short_name(name)}\n{_ap(result, label)} ({int(result.positives[label])})"
        axes.text(corner[0] + 0.5, corner[1] + 1.03, text, ha="center", va="bottom", fontsize=8)
    marks = [(0.0, "0"), (0.5, ".5"), (1.0, "1")]
    across = [(PITCH[0] * column + at, text) for column in range(columns) for at, text in marks]
    down = [(at - PITCH[1] * row, text) for row in range(rows) for at, text in marks]
    axes.set_xticks([at for at, _ in across], [text for _, text in across], fontsize=7)
    axes.set_yticks([at for at, _ in down], [text for _, text in down], fontsize=7)
    axes.set_xlim(-0.05, PITCH[0] * columns - PITCH[0] + 1.05)
    axes.set_ylim(PITCH[1] - PITCH[1] * rows - 0.05, 1.4)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("recall", fontsize=9)
    axes.set_ylabel("precision", fontsize=9)
    return figure
