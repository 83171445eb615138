"""telemetry.csv and telemetry.png."""

import csv
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bnn_tasks.callbacks.canvas import new_figure

COLUMNS = (
    *("step", "epoch", "layer", "weights", "flip_ratio", "kept_share", "sign_balance", "entropy", "filter_entropy"),
    *("dead_share", "cosine_deviation"),
)
CURVES: dict[str, tuple[str, str, Callable[[float], float]]] = {  # column -> colour, label, what is drawn
    "flip_ratio": ("tab:red", "flip ratio", abs),
    "kept_share": ("tab:green", "1 - kept share", lambda value: 1 - value),
    "sign_balance": ("tab:blue", "|sign balance|", abs),
    "filter_entropy": ("tab:purple", "1 bit - filter entropy", lambda value: 1 - value),
    "dead_share": ("black", "dead share", abs),
}
LOWEST = 1e-5  # of the drawn axis


def read_rows(path: Path) -> list[dict[str, str]]:
    """Complete rows of a file, or none where there is no file; a run that was killed while it wrote may have cut the last.

    Raises:
        ValueError: the file has other columns.
    """
    text = path.read_text(errors="replace") if path.exists() else ""
    lines = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
    if lines.fieldnames not in (None, list(COLUMNS)):
        raise ValueError(
            f"Expected {str(path)!r} to have the columns {', '.join(COLUMNS)}, but got {lines.fieldnames}. Cure: move it away."
        )
    return [row for row in lines if None not in row and None not in row.values()]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], append: bool = False) -> None:
    """Write rows below a line of column names, or append them.

    Args:
        path: of the file.
        rows: with the keys `COLUMNS`.
        append: to the file as it is; else it is written anew, complete or not at all.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    target = path if append else path.with_suffix(".part")
    with open(target, "a" if append else "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not append:
            writer.writeheader()
        writer.writerows(rows)
    if not append:
        os.replace(target, path)


def draw(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """Draw a small panel for every layer, on common axes: shares on a logarithmic one, the cosine deviation on a linear one.

    Args:
        rows: of the file, at least one.
        path: of the PNG.
    """
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    columns = min(len(layers), max(3, math.ceil(math.sqrt(len(layers)))))
    lines = math.ceil(len(layers) / columns)
    figure = new_figure(max(2.4 * columns, 7), 1.7 * lines + 1.1)
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for index, (axes, layer) in enumerate(zip(grid, layers)):
        own = [row for row in rows if row["layer"] == layer]
        steps = [int(row["step"]) for row in own]
        marker = "." if len(own) < 10 else None
        handles = []
        for column, (colour, label, change) in CURVES.items():
            values = [max(change(float(row[column])), LOWEST) for row in own]
            handles += axes.plot(steps, values, color=colour, label=label, linewidth=1, marker=marker)
        axes.set_yscale("log")
        axes.set_ylim(LOWEST, 1.5)
        right = axes.twinx()
        deviation = [float(row["cosine_deviation"] or "nan") for row in own]
        handles += right.plot(steps, deviation, color="tab:orange", label="cosine deviation (right)", linestyle="--")
        right.set_ylim(0, 2)
        right.tick_params(labelsize=6, labelright=index % columns == columns - 1 or index == len(layers) - 1)
        axes.set_title(f"{layer} ({int(own[0]['weights']):,})", fontsize=7)
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=6)
    for axes in grid[len(layers) :]:
        axes.axis("off")
    figure.supxlabel("optimiser steps", fontsize=8)
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=7)
    figure.savefig(path)
