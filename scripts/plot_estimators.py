"""A picture of all estimators: the curve that stands in for the sign, and its slope, which backward uses."""

import argparse

import matplotlib
import numpy as np
import torch
from matplotlib import pyplot
from matplotlib.axes import Axes

from bnn_tasks.binary import (
    DSQ,
    EDE,
    FDA,
    STE,
    ApproxSign,
    ClippedSTE,
    Estimator,
    Scheduled,
    SignSwish,
    Tanh,
    TrainingAware,
    set_progress,
)
from bnn_tasks.cli import errors_in_a_line

SLOPE, CURVE, SIGN = "#c0392b", "#2c5f8a", "#b0b0b0"
TOP = 2.6  # of the panels
STAGES = ((0.0, ":"), (0.5, "--"), (1.0, "-"))
ESTIMATORS: dict[str, Estimator] = {
    "STE (BinaryConnect)": STE(),
    "ClippedSTE (BNN)": ClippedSTE(),
    "ApproxSign (Bi-Real)": ApproxSign(),
    "SignSwish, β = 5 (BNN+)": SignSwish(),
    "Tanh, k = 1": Tanh(),
    "FDA, 10 terms": FDA(),
    "EDE (IR-Net)": EDE(),
    "TrainingAware (RBNN)": TrainingAware(),
    "DSQ": DSQ(),
}


def draw(axes: Axes, name: str, estimator: Estimator, label: bool) -> None:
    """One panel: the sign, the slope g and its integral from 0, at three stages of training where it changes."""
    x = torch.linspace(-2, 2, 4001, dtype=torch.float64)
    stages = STAGES if isinstance(estimator, Scheduled) else STAGES[-1:]
    for progress, style in stages:
        set_progress(estimator, progress)
        slope = estimator.double().surrogate_gradient(x).numpy()
        steps = np.concatenate([[0], np.cumsum((slope[1:] + slope[:-1]) / 2)]) * float(x[1] - x[0])
        note = f", progress {progress:g}" if len(stages) > 1 else ""
        axes.plot(
            x,
            steps - steps[len(x) // 2],
            style,
            color=CURVE,
            linewidth=1.3,
            label=f"surrogate{note}" if label else None,
        )
        axes.plot(x, slope, style, color=SLOPE, linewidth=1.3, label=f"slope g(x){note}" if label else None)
    axes.plot([-2, 0, 0, 2], [-1, -1, 1, 1], color=SIGN, linewidth=2.5, zorder=1, label="sign(x)" if label else None)
    if slope.max() > TOP:
        axes.text(0.35, TOP - 0.1, f"g(0) = {slope.max():.3g}", color=SLOPE, fontsize=8, va="top")
    axes.set_title(name, fontsize=9)
    axes.set_xlim(-2, 2)
    axes.set_ylim(-1.6, TOP)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.tick_params(labelsize=7)


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", default="docs/estimators.png")
    options = parser.parse_args()
    matplotlib.use("agg")
    figure, panels = pyplot.subplots(3, 3, figsize=(8.4, 7.6), sharex=True, sharey=True, layout="constrained")
    for axes, (name, estimator) in zip(panels.flat, ESTIMATORS.items()):
        draw(axes, name, estimator, label=estimator is ESTIMATORS["EDE (IR-Net)"])
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    figure.savefig(options.out, dpi=110)


if __name__ == "__main__":
    with errors_in_a_line("plot_estimators.py"):
        main()
