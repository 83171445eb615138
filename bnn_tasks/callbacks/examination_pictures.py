"""Pictures of a study's further examinations."""

from functools import singledispatch
from pathlib import Path

import numpy as np

from bnn_tasks.callbacks.canvas import draw_shares, new_figure
from bnn_tasks.callbacks.corruption_bars import draw_corruptions
from bnn_tasks.tasks.robustness.examinations import (
    Corruptions,
    Cosines,
    FlipCurves,
    LayerNorms,
    Slices,
    TransferTable,
)
from bnn_tasks.tasks.robustness.findings import Examined
from bnn_tasks.tasks.robustness.victims import run_name


@singledispatch
def draw_examined(found: Examined, path: Path) -> None:
    """Draw an answer; one without a picture of its own is left to ``results.json``.

    Args:
        found: by an examination.
        path: PNG to write.
    """


@draw_examined.register
def _transfer(found: TransferTable, path: Path) -> None:
    table = np.array([found.clean, *found.accuracy])
    rows = ["(no attack)", *found.sources]
    figure = new_figure(4 + 0.9 * len(found.targets), 2 + 0.5 * len(rows))
    axes = figure.subplots()
    draw_shares(axes, table, [run_name(name) for name in rows], [run_name(name) for name in found.targets])
    axes.tick_params(axis="x", rotation=20)
    axes.set(xlabel="asked", ylabel="attacked", title=f"accuracy, ε = {255 * found.eps:g}/255")
    figure.savefig(path)


@draw_examined.register
def _slices(found: Slices, path: Path) -> None:
    figure = new_figure(1 + 3.2 * len(found.losses), 3.4)
    reach = 255 * float(found.offsets[-1])
    panels = figure.subplots(1, len(found.losses), squeeze=False, sharey=True)[0]
    panels[0].set_ylabel("random signs · 255")
    for axes, loss in zip(panels, found.losses):
        image = axes.imshow(
            loss.T.numpy(), origin="lower", extent=(-reach, reach, -reach, reach), cmap="magma", aspect="auto"
        )
        axes.contour(loss.T.numpy(), 8, extent=(-reach, reach, -reach, reach), colors="white", linewidths=0.5)
        axes.set_xlabel("sign of the gradient · 255")
        figure.colorbar(image, ax=axes, shrink=0.7)
    figure.suptitle("cross-entropy around images", fontsize=10)
    figure.savefig(path)


@draw_examined.register
def _corruptions(found: Corruptions, path: Path) -> None:
    draw_corruptions(found.scores, "accuracy", path)


@draw_examined.register
def _flips(found: FlipCurves, path: Path) -> None:
    figure = new_figure(5.5, 3.8)
    axes = figure.subplots()
    for name, points in {"random bits": found.random, "searched bits": found.searched}.items():
        if points:
            axes.plot([point.flipped for point in points], [point.score for point in points], "o-", label=name)
    axes.set_xscale("symlog", linthresh=1)
    axes.set(xlabel="flipped 1-bit weights of the file", ylabel="accuracy", ylim=(0, 1), xlim=(0, None))
    axes.legend(fontsize=8)
    figure.savefig(path)


@draw_examined.register
def _norms(found: LayerNorms, path: Path) -> None:
    figure = new_figure(6, 3.8)
    axes = figure.subplots()
    for net, norms in found.norms.items():
        depth = np.linspace(0, 1, len(norms))
        axes.plot(depth, list(norms.values()), "o-", markersize=3, label=run_name(net))
    axes.axhline(1, color="grey", linestyle=":")
    axes.set(xlabel="depth", ylabel=f"largest singular value, {found.view} weights", ylim=(0, None))
    axes.legend(fontsize=8)
    figure.savefig(path)


@draw_examined.register
def _cosines(found: Cosines, path: Path) -> None:
    figure = new_figure(5.5, 3.8)
    axes = figure.subplots()
    radii = [255 * radius for radius in found.radii]
    for net, means in found.means.items():
        axes.plot(radii, means, "o-", label=run_name(net))
    axes.axhline(0, color="grey", linestyle=":")
    axes.set_xscale("log", base=2)
    axes.set_xticks(radii, [f"{radius:g}" for radius in radii])
    axes.set(xlabel="size of random noise · 255", ylabel="cosine to the gradient without it", ylim=(-0.1, 1))
    axes.legend(fontsize=8)
    figure.savefig(path)
