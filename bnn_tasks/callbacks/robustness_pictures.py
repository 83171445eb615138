"""Pictures of a study of attacks."""

from pathlib import Path

import numpy as np

from bnn_tasks.callbacks.canvas import draw_shares, new_figure
from bnn_tasks.tasks.robustness import Findings


def draw_ladder(findings: Findings, path: Path) -> None:
    """Worst-case accuracy against ε, with its 95 % intervals and chance.

    Args:
        findings: of a study.
        path: PNG to write.
    """
    figure = new_figure(6, 4)
    axes = figure.subplots()
    eps = [255 * step for step, _ in findings.ladder]
    points = [point for _, point in findings.ladder]
    axes.plot(eps, [point.value for point in points], "o-", color="tab:red", label="worst case over all attacks")
    axes.fill_between(
        eps, [p.low for p in points], [p.high for p in points], color="tab:red", alpha=0.2, label="95 % interval"
    )
    axes.axhline(1 / findings.facts.classes, color="grey", linestyle=":", label="chance")
    axes.set_xscale("symlog", base=2, linthresh=0.25)
    ticks = [step for step in eps if step > 0]
    axes.set_xticks(ticks, [f"{step:g}" for step in ticks])
    axes.set(xlabel=f"ε · 255, {findings.threat['norm']}", ylabel="accuracy", ylim=(0, 1), xlim=(0, None))
    axes.set_title(findings.verdict.label, fontsize=10)
    axes.legend(fontsize=8)
    figure.savefig(path)


def draw_attacks(findings: Findings, path: Path) -> None:
    """Accuracy under each attack, and the worst case.

    Args:
        findings: of a study.
        path: PNG to write.
    """
    rows = [("clean", findings.clean), *((row.attack, row.accuracy) for row in findings.rows)]
    rows.append(("worst case", findings.worst))
    figure = new_figure(7, 1 + 0.3 * len(rows))
    axes = figure.subplots()
    places = np.arange(len(rows))[::-1]
    values = np.array([found.value for _, found in rows])
    errors = np.array([[found.value - found.low, found.high - found.value] for _, found in rows]).T.clip(min=0)
    colours = ["tab:blue", *["tab:orange"] * len(findings.rows), "tab:red"]
    axes.barh(places, values, xerr=errors, color=colours, height=0.7, error_kw={"elinewidth": 0.8})
    axes.set_yticks(places, [name for name, _ in rows], fontsize=8)
    axes.set(xlim=(0, 1), xlabel=f"accuracy at ε = {255 * findings.threat['eps']:g}/255")
    figure.savefig(path)


def draw_sweep(findings: Findings, path: Path) -> None:
    """Accuracy by attack-time surrogate and ε, as a heat map.

    Args:
        findings: of a study of a binary net.
        path: PNG to write.
    """
    eps = list(findings.surrogates)
    names = list(findings.surrogates[eps[0]])
    table = np.array([[findings.surrogates[step][name] for step in eps] for name in names])
    figure = new_figure(2.5 + 0.8 * len(eps), 1.2 + 0.4 * len(names))
    axes = figure.subplots()
    image = draw_shares(axes, table, names, [f"{255 * step:g}" for step in eps])
    axes.set(xlabel="ε · 255", ylabel="surrogate of the attacker")
    figure.colorbar(image, label="accuracy")
    figure.savefig(path)


def draw_convergence(findings: Findings, path: Path) -> None:
    """Accuracy under PGD by its number of steps.

    Args:
        findings: of a study.
        path: PNG to write.
    """
    figure = new_figure(5, 3.5)
    axes = figure.subplots()
    axes.plot(*zip(*findings.convergence), "o-")
    axes.set(xlabel="steps of PGD, the net's own gradient", ylabel="accuracy", ylim=(0, 1))
    figure.savefig(path)


def draw_depth(findings: Findings, path: Path) -> None:
    """‖f_l(x) - f_l(x')‖ / ‖f_l(x)‖ and the share of changed signs, layer by layer.

    Args:
        findings: of a study with a torch net.
        path: PNG to write.
    """
    assert findings.sensitivity is not None
    nets = [("victim", findings.sensitivity, "tab:red")]
    if findings.twin_sensitivity is not None:
        nets.append(("other net", findings.twin_sensitivity, "tab:blue"))
    panels = [("change of a layer's output / its size", [(name, net.amplification, c) for name, net, c in nets])]
    if flips := [(name, net.flips, colour) for name, net, colour in nets if net.flips]:
        panels.append(("share of signs that change", flips))
    figure = new_figure(8, 3.2 * len(panels))
    for axes, (label, rows) in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels):
        for name, layers, colour in rows:
            depth = np.linspace(0, 1, len(layers))
            axes.plot(depth, [layer.adversarial for layer in layers], "-", color=colour, label=f"{name}, attack")
            axes.plot(depth, [layer.random for layer in layers], ":", color=colour, label=f"{name}, equal noise")
        axes.set(xlabel="depth", ylabel=label)
        axes.legend(fontsize=8)
    figure.savefig(path)
