"""Contenders against each other in one run: a process each, turns in rotation, so that a disturbance meets all of them."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bnn_tasks.bench.contenders import OURS, entry, missing
from bnn_tasks.bench.material import Net
from bnn_tasks.bench.process import ContenderError, Process

TURN_SECONDS = 0.2


@dataclass
class Result:
    """One contender on one net.

    Attributes:
        contender: its name.
        net: the net's name.
        error: why there is no figure; None where there is one.
        turns: median seconds of a pass in every round.
        limits: operations a second that its threads could do at most, in every round; empty where that is not asked.
        least: seconds of the fastest pass of all; of the fastest turn where only its median is known.
        ratio: median over the rounds of these seconds against the artifact's in the same round; 0 where that is missing.
        resident: bytes its process held after the last round, all nets of the run together.
        peak: the most bytes its process has held.
        open_seconds: from nothing to a net that is ready.
        first_seconds: of the first pass.
        about: what it says of itself.
        agreement: with the twin, or with the artifact.
    """

    contender: str
    net: str
    error: str | None = None
    turns: list[float] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)
    least: float = math.inf
    ratio: float = 0.0
    resident: int = 0
    peak: int = 0
    open_seconds: float = 0.0
    first_seconds: float = 0.0
    about: dict[str, str] = field(default_factory=dict)
    agreement: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.turns)

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third, over the rounds."""
        if len(self.turns) < 2:
            return self.seconds, self.seconds
        low, _, high = statistics.quantiles(self.turns, n=4, method="inclusive")
        return low, high

    def share(self, operations: int) -> float:
        """Of what its threads could do at most: median over the rounds, each with its own limit; 0 where there is none.

        Args:
            operations: of a pass.
        """
        shares = [operations / seconds / limit for seconds, limit in zip(self.turns, self.limits)]
        return statistics.median(shares) if shares else 0.0


def race(
    nets: Sequence[Net],
    names: Sequence[str],
    threads: int,
    rounds: int,
    folder: Path,
    turn_seconds: float = TURN_SECONDS,
    failures: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> list[Result]:
    """Time every contender on every net.

    Each contender is first tried in a process that is thrown away: kernels and compiled models go to their caches, outputs
    are checked, the fastest of several ways is found. The processes that are timed are fresh.

    Args:
        nets: their material is ready.
        names: of the contenders, the artifact's first.
        threads: that each may use.
        rounds: turns of each.
        folder: for files of the run.
        turn_seconds: for a turn.
        failures: file of the material -> why it could not be made.
        say: takes a line of progress.

    Returns:
        Net by net, in the order of `names`.
    """
    table = {(net.name, name): Result(name, net.name) for net in nets for name in names}
    with ExitStack() as stack:
        running: dict[str, Process] = {}
        for name in names:
            say(f"opening {name}")
            mine = [table[net.name, name] for net in nets]
            ways = _tried(name, nets, mine, threads, folder, turn_seconds, failures or {})
            chosen = [index for index, way in enumerate(ways) if way is not None]
            if not chosen:
                continue
            try:
                process = Process(name, nets, [[way] if way is not None else [] for way in ways], threads, 0, folder)
                running[name] = stack.enter_context(process)
            except ContenderError as error:
                _failed(mine, str(error))
                continue
            for index in chosen:
                _take(mine[index], process.opened[index])
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            _round(nets, running, table, turn_seconds)
        for name, process in running.items():
            try:
                resident, peak = process.memory()
            except ContenderError:  # said already, in its round
                continue
            for net in nets:
                table[net.name, name].resident, table[net.name, name].peak = resident, peak
    for (net_name, _), result in table.items():
        ours = table.get((net_name, OURS))
        if ours is not None and ours.error is None and result.error is None:
            result.ratio = statistics.median(theirs / own for theirs, own in zip(result.turns, ours.turns))
    return list(table.values())


def _tried(
    name: str,
    nets: Sequence[Net],
    mine: Sequence[Result],
    threads: int,
    folder: Path,
    seconds: float,
    failures: Mapping[str, str],
) -> list[Mapping[str, Any] | None]:
    """The options to run each net with, None where there is no way; then the result says why."""
    reason = missing(name)
    files = [way["file"] for way in entry(name).alternatives if "file" in way]
    ways = [way for way in entry(name).alternatives if way.get("file") not in failures]
    if reason is None and not ways:
        reason = "; ".join(dict.fromkeys(failures[file] for file in files))
    if reason is not None:
        _failed(mine, reason)
        return [None] * len(nets)
    try:
        with Process(name, nets, [ways] * len(nets), threads, seconds, folder) as process:
            opened = process.opened
    except ContenderError as error:
        _failed(mine, str(error))
        return [None] * len(nets)
    for result, answer in zip(mine, opened):
        result.error = answer.get("error")
        result.agreement = answer.get("agreement", {})
    return [answer.get("options") for answer in opened]


def _take(result: Result, answer: Mapping[str, Any]) -> None:
    result.error = answer.get("error")
    if result.error is None:
        result.open_seconds, result.first_seconds = answer["open_seconds"], answer["first_seconds"]
        result.about = dict(answer["about"])


def _failed(results: Sequence[Result], reason: str) -> None:
    for result in results:
        result.error = reason


def _round(
    nets: Sequence[Net], running: dict[str, Process], table: Mapping[tuple[str, str], Result], seconds: float
) -> None:
    for index, net in enumerate(nets):
        for name, process in running.items():
            result = table[net.name, name]
            if result.error is not None:
                continue
            try:
                passes, limit = process.time(index, seconds)
            except ContenderError as error:
                _failed([table[other.name, name] for other in nets], str(error))
                continue
            result.turns.append(statistics.median(passes))
            result.least = min(result.least, *passes)
            if limit is not None:
                result.limits.append(limit)
