"""Several nets under the same attacks: worst case by ε, what the sweep of surrogates takes off, noise by depth."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bnn_tasks.tasks.robustness.victims import run_name

Named = Sequence[tuple[str, dict[str, Any]]]  # what a victim is called, and its report

MEASURED = {"clean", "attacks", "ladder", "surrogates", "convergence", "sensitivity", "facts"}
KEYS = {"victim", "threat", "verdict"} | MEASURED  # of a report
SWEEP, TRANSFER = "surrogate sweep", "transfer from "  # how the names of such attacks end, and begin
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)  # shares of a net's layers


def robustness_table(paths: Sequence[str | os.PathLike[str]]) -> str:
    """Markdown tables, a net a row: the worst case by ε; what the sweep takes off nets with surrogates; noise by depth.

    Args:
        paths: ``results.json`` of `RobustnessReport`, or the folders that they are in; at least one.

    Raises:
        ValueError: a file is no such report, or the reports differ in norm, images, seed, steps, queries, ε or attacks.
    """
    if not paths:
        raise ValueError("Expected at least one report, but got none.")
    reports = [_read(Path(path)) for path in paths]
    _check_same(paths, [_settings(report) for report in reports])
    named = [(run_name(report["victim"]), report) for report in reports]
    swept = [(path, report["surrogates"]) for path, report in zip(paths, reports, strict=True) if report["surrogates"]]
    _check_same([path for path, _ in swept], [{"sweep": [found["eps_255"] for found in rows]} for _, rows in swept])
    tables = (_ladders(named), _sweeps(named), _equal_starts(named), _amplification(named))
    return "\n\n".join(table for table in tables if table)


def _ladders(named: Named) -> str:
    ladder = [point["eps_255"] for point in named[0][1]["ladder"] if point["eps_255"] > 0]
    rows = []
    for name, report in named:
        points = [_share(point) for point in report["ladder"] if point["eps_255"] > 0]
        rows.append([name, _share(report["clean"]), *points, report["verdict"]["label"]])
    return _markdown(["worst case at ε·255 =", "clean", *(f"{eps:g}" for eps in ladder), "verdict"], rows)


def _sweeps(named: Named) -> str:
    swept = [(name, report["surrogates"]) for name, report in named if report["surrogates"]]
    if not swept:
        return ""
    eps = [f"{found['eps_255']:g}" for found in swept[0][1]]
    rows = [[name, *(f"{found['own']:.1%} → {found['all']:.1%}" for found in rows)] for name, rows in swept]
    return _markdown(["PGD, own gradient → all surrogates", *eps], rows)


def _equal_starts(named: Named) -> str:
    """A sweep is an attack a surrogate: what the surrogates are worth, PGD from as many starts says."""
    rows = [
        [name, *(f"{report['facts'][fact]:.1%}" for fact in ("iterated", "surrogates"))]
        for name, report in named
        if report["facts"]["surrogates"] is not None
    ]
    head = f"equally many starts, ε·255 = {255 * named[0][1]['threat']['eps']:g}"
    return _markdown([head, "PGD, own gradient", "all surrogates"], rows) if rows else ""


def _amplification(named: Named) -> str:
    rows = []
    for name, report in named:
        if report["sensitivity"] is None:
            continue
        layers = report["sensitivity"]["amplification"]
        shown = [layers[round(share * (len(layers) - 1))] for share in DEPTHS]
        rows.append([name, *(f"{layer['adversarial']:.3f} ({layer['random']:.3f})" for layer in shown)])
    return _markdown(["D_l, attack (noise), at depth", *(f"{share:.0%}" for share in DEPTHS)], rows) if rows else ""


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)])


def _read(path: Path) -> dict[str, Any]:
    file = next(
        (one for one in (path, path / "results.json", path / "robustness" / "results.json") if one.is_file()), None
    )
    if file is None:
        raise ValueError(
            f"Expected {str(path)!r} to be a report or a folder with one, but there is none. Cure: bnn-tasks test."
        )
    try:
        content: dict[str, Any] = json.loads(file.read_text())
        if not content.keys() >= KEYS:
            raise KeyError
    except (KeyError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"Expected {str(file)!r} to be a report of RobustnessReport, but it is none.") from error
    return content


def _check_same(paths: Sequence[str | os.PathLike[str]], settings: Sequence[dict[str, Any]]) -> None:
    for path, own in zip(paths, settings, strict=True):
        if other := [name for name in own if own[name] != settings[0][name]]:
            here, first = ({name: found[name] for name in other} for found in (own, settings[0]))
            raise ValueError(
                f"Expected reports of the same attacks, but {os.fspath(path)!r} has {here}, and {os.fspath(paths[0])!r} "
                f"{first}. Cure: one study for all."
            )


def _settings(report: dict[str, Any]) -> dict[str, Any]:
    """What must be the same. A real net has no surrogates to sweep, and a net has other twins than its twin has."""
    threat = report["threat"]
    attacks = [row["attack"] for row in report["attacks"] if not row["attack"].endswith(SWEEP)]
    transfers = [name for name in attacks if name.startswith(TRANSFER)]
    own = {name: threat[name] for name in ("norm", "eps", "images", "seed", "steps", "step_size", "queries")}
    return own | {
        "ladder": [point["eps_255"] for point in report["ladder"]],
        "attacks": [name for name in attacks if name not in transfers],
        "transfer": bool(transfers),
        "convergence": [point["steps"] for point in report["convergence"]],
    }


def _share(point: dict[str, float]) -> str:
    return f"{point['value']:.1%} ({100 * point['low']:.0f}–{100 * point['high']:.0f})"
