"""Several nets under the same attacks: worst case by ε, and what the sweep of surrogates takes off, from their reports."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bnn_tasks.tasks.robustness.victims import run_name


def robustness_table(paths: Sequence[str | os.PathLike[str]]) -> str:
    """A Markdown table, a net a row, and one of the sweep for those that have surrogates.

    Args:
        paths: ``results.json`` of `RobustnessReport`, or the folders that they are in; at least one.

    Raises:
        ValueError: a file is no such report, or the reports differ in norm, images, steps, queries or ε.
    """
    if not paths:
        raise ValueError("Expected at least one report, but got none.")
    reports = [_read(Path(path)) for path in paths]
    _check_same(paths, [_settings(report) for report in reports])
    names = [run_name(report["victim"]) for report in reports]
    ladder = [point["eps_255"] for point in reports[0]["ladder"] if point["eps_255"] > 0]
    lines = [f"| worst case at ε·255 = | clean | {' | '.join(f'{eps:g}' for eps in ladder)} | verdict |"]
    lines.append("|---" * (len(ladder) + 3) + "|")
    for name, report in zip(names, reports, strict=True):
        points = [_share(point) for point in report["ladder"] if point["eps_255"] > 0]
        cells = [name, _share(report["clean"]), *points, report["verdict"]["label"]]
        lines.append(f"| {' | '.join(cells)} |")
    sweeps = [(path, report["surrogates"]) for path, report in zip(paths, reports, strict=True) if report["surrogates"]]
    _check_same([path for path, _ in sweeps], [{"sweep": [found["eps_255"] for found in rows]} for _, rows in sweeps])
    swept = [(name, report["surrogates"]) for name, report in zip(names, reports, strict=True) if report["surrogates"]]
    if swept:
        eps = [found["eps_255"] for found in swept[0][1]]
        lines += ["", f"| PGD, own gradient → all surrogates | {' | '.join(f'{step:g}' for step in eps)} |"]
        lines.append("|---" * (len(eps) + 1) + "|")
        for name, rows in swept:
            cells = [f"{found['own']:.1%} → {found['all']:.1%}" for found in rows]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


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
        if not {"victim", "threat", "clean", "ladder", "surrogates", "verdict"} <= content.keys():
            raise KeyError
    except (KeyError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"Expected {str(file)!r} to be a report of RobustnessReport, but it is none.") from error
    return content


def _check_same(paths: Sequence[str | os.PathLike[str]], settings: Sequence[dict[str, Any]]) -> None:
    for path, own in zip(paths, settings, strict=True):
        if own != settings[0]:
            raise ValueError(
                f"Expected reports of the same attacks, but {os.fspath(path)!r} has {own}, and {os.fspath(paths[0])!r} "
                f"{settings[0]}. Cure: one study for all."
            )


def _settings(report: dict[str, Any]) -> dict[str, Any]:
    threat = report["threat"]
    own = {name: threat[name] for name in ("norm", "eps", "images", "seed", "steps", "step_size", "queries")}
    return own | {"ladder": [point["eps_255"] for point in report["ladder"]]}


def _share(point: dict[str, float]) -> str:
    return f"{point['value']:.1%} ({100 * point['low']:.0f}–{100 * point['high']:.0f})"
