"""Bars of a figure by corruption and severity."""

from pathlib import Path

import numpy as np

from bnn_tasks.callbacks.canvas import new_figure
from bnn_tasks.tasks.robustness import CorruptionScores


def draw_corruptions(found: CorruptionScores, figure_name: str, path: Path) -> None:
    """Draw scores.

    Args:
        found: of one net.
        figure_name: what the scores are, as "accuracy".
        path: PNG to write.
    """
    names = list(found.scores)
    figure = new_figure(7, 1.4 + 0.3 * len(names))
    axes = figure.add_subplot()
    places = np.arange(len(names))[::-1]
    for severity, shade in enumerate(np.linspace(0.35, 0.95, 5)):
        values = [found.scores[name][severity] for name in names]
        offset = (2 - severity) * 0.16
        axes.barh(places + offset, values, 0.16, color=(shade, 0.3, 1 - shade), label=f"severity {severity + 1}")
    axes.axvline(found.clean, color="black", linestyle=":", label="clean")
    axes.set_yticks(places, [name.replace("_", " ") for name in names], fontsize=8)
    share = f", rPC {found.relative_performance():.1%}" if found.clean else ""
    axes.set(xlabel=figure_name, xlim=(0, 1), title=f"mPC {found.mean_performance():.3f}{share}")
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path)
