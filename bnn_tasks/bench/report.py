"""What a run found, as a table and as JSON."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bnn_tasks.bench.contenders import OURS, SUMS
from bnn_tasks.bench.machine import cpu_name, versions
from bnn_tasks.bench.race import Result

MEGABYTE = 2**20


@dataclass(frozen=True)
class NetFacts:
    """What is timed.

    Attributes:
        name: of the net.
        size: (height, width) of the input, pixels.
        detector: whether time runs from a picture to its detections; else from a tensor to raw outputs.
        artifact_bytes: the file's size; 0 for a layer.
        float_bytes: the net's parameters as 32-bit floats.
        bit_bytes: bytes of the file's packed weights.
        float_bit_bytes: the same weights as 32-bit floats.
        operations: of a layer, two a multiply-add; 0 for a net.
        limit: what bounds a layer's operations a second, in words.
        found: detections in each picture.
        segmenter: whether a tensor's time runs to the class map.
    """

    name: str
    size: tuple[int, int]
    detector: bool
    artifact_bytes: int = 0
    float_bytes: int = 0
    bit_bytes: int = 0
    float_bit_bytes: int = 0
    operations: int = 0
    limit: str = ""
    found: tuple[int, ...] = ()
    segmenter: bool = False


@dataclass(frozen=True)
class Total:
    """A contender over all layers of a kind.

    Attributes:
        layers: which, in words.
        contender: its name.
        seconds: sum of its medians.
        ratio: of this sum to the artifact's; 0 where that is missing.
        limit: what bounds operations a second, in words.
        share: of the limit over the summed time; 0 where it was not measured.
        lowest: share of a layer; 0 likewise.
    """

    layers: str
    contender: str
    seconds: float
    ratio: float
    limit: str
    share: float
    lowest: float

    def __str__(self) -> str:
        line = f"{self.layers}, {'packed signs to sums' if self.contender == SUMS else self.contender}"
        line += f": {1e3 * self.seconds:.3f} ms"
        if self.ratio and self.contender != SUMS:  # which is only a part of what the others do
            line += f" = {self.ratio:.2f} × {OURS}"
        if self.share:
            line += f", {100 * self.share:.1f} % of the {self.limit} over their summed time"
            line += f", {100 * self.lowest:.1f} % the lowest"
        return line


@dataclass(frozen=True)
class Report:
    """One run.

    Attributes:
        cpu: the processor.
        versions: of Python and the libraries.
        threads: of each contender.
        rounds: turns of each.
        nets: what was timed.
        results: net by net.
        totals: after the tables.
    """

    cpu: str
    versions: dict[str, str]
    threads: int
    rounds: int
    nets: tuple[NetFacts, ...]
    results: tuple[Result, ...]
    totals: tuple[Total, ...] = ()

    @staticmethod
    def of(
        nets: Sequence[NetFacts], results: Sequence[Result], threads: int, rounds: int, totals: Sequence[Total] = ()
    ) -> "Report":
        """The report of a run on this machine.

        Args:
            nets: what was timed.
            results: of the race.
            threads: of each contender.
            rounds: turns of each.
            totals: after the tables.
        """
        return Report(cpu_name(), versions(), threads, rounds, tuple(nets), tuple(results), tuple(totals))

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it; times in seconds, memory in bytes."""
        nets = []
        for facts in self.nets:
            rows = [_row(result, facts.operations) for result in self.results if result.net == facts.name]
            nets.append(asdict(facts) | {"contenders": rows})
        return {
            "cpu": self.cpu,
            "versions": self.versions,
            "threads": self.threads,
            "rounds": self.rounds,
            "nets": nets,
            "totals": [asdict(total) for total in self.totals],
        }

    def __str__(self) -> str:
        head = f"{self.cpu}; {self.threads} thread(s) each, batch 1, medians of {self.rounds} round(s)"
        libraries = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        tables = [line for facts in self.nets for line in self._table(facts)]
        return "\n".join([head, libraries, *tables, *(["", *map(str, self.totals)] if self.totals else [])])

    def _table(self, facts: NetFacts) -> list[str]:
        results = [result for result in self.results if result.net == facts.name]
        width = max(len(result.contender) for result in results)
        columns = f"{'ms':>9}{'quartiles':>23}{'× ours':>8}{'MiB now':>9}{'peak':>7}{'open s':>8}{'first s':>9}"
        rate = f"{'T op/s':>9}" if facts.operations else ""
        lines = ["", *_heading(facts), f"  {'':<{width}}{columns}{rate}"]
        for result in results:
            cells = _cells(result, facts.operations) if result.error is None else f"  no figure: {result.error}"
            lines.append(f"  {result.contender:<{width}}{cells}")
        for result in results:
            notes = [f"{key} {value}" for key, value in result.about.items()]
            if result.agreement:
                notes.append(f"correlation with its reference {result.agreement['correlation']:.4f}")
            if result.limits:
                share, limit = result.share(facts.operations), statistics.median(result.limits)
                notes.append(f"{100 * share:.1f} % of the {facts.limit} of {limit / 1e12:.3g} T op/s")
                if share > 1:
                    notes.append("over 100 %: other work slowed the peak's loop, or taps in the padding are skipped")
            if notes and result.error is None:
                lines.append(f"  {result.contender}: {'; '.join(notes)}")
        return lines


def _heading(facts: NetFacts) -> list[str]:
    what = "picture to detections" if facts.detector else "tensor to raw outputs"
    if facts.segmenter:
        what = "tensor to class map"
    if facts.operations:
        what = "float map to float map"
    lines = [f"{facts.name}, {facts.size[0]}×{facts.size[1]}, {what}"]
    if facts.artifact_bytes:
        lines.append(
            f"  file {facts.artifact_bytes:,} bytes, 1/{facts.float_bytes / facts.artifact_bytes:.1f} of the "
            f"{facts.float_bytes:,} of its weights as 32-bit floats"
        )
    if facts.bit_bytes:
        lines.append(
            f"  its binary weights {facts.bit_bytes:,} bytes, 1/{facts.float_bit_bytes / facts.bit_bytes:.1f} of "
            f"{facts.float_bit_bytes:,}"
        )
    if facts.found:
        lines.append(f"  {len(facts.found)} picture(s) in rotation, detections: {', '.join(map(str, facts.found))}")
    return lines


def _cells(result: Result, operations: int) -> str:
    low, high = (f"{1e3 * seconds:.3f}" for seconds in result.quartiles)
    ratio = f"{result.ratio:.2f}" if result.ratio else "-"
    rate = f"{operations / result.seconds / 1e12:>9.3f}" if operations else ""
    return (
        f"{1e3 * result.seconds:>9.3f}{f'{low} … {high}':>23}{ratio:>8}{result.resident / MEGABYTE:>9.0f}"
        f"{result.peak / MEGABYTE:>7.0f}{result.open_seconds:>8.2f}{result.first_seconds:>9.3f}{rate}"
    )


def _row(result: Result, operations: int) -> dict[str, Any]:
    row = asdict(result)
    del row["net"]
    if result.error is not None:
        return {"contender": result.contender, "error": result.error}
    if result.turns:
        low, high = result.quartiles
        row |= {"seconds": result.seconds, "first_quartile": low, "third_quartile": high}
    if result.limits:
        row["share"] = result.share(operations)
    return row
