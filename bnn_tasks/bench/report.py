"""What a run found, as a table and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

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
        found: detections in each picture.
    """

    name: str
    size: tuple[int, int]
    detector: bool
    artifact_bytes: int = 0
    float_bytes: int = 0
    bit_bytes: int = 0
    float_bit_bytes: int = 0
    operations: int = 0
    found: tuple[int, ...] = ()


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
        remarks: lines after the tables.
    """

    cpu: str
    versions: dict[str, str]
    threads: int
    rounds: int
    nets: tuple[NetFacts, ...]
    results: tuple[Result, ...]
    remarks: tuple[str, ...] = ()

    @staticmethod
    def of(
        nets: Sequence[NetFacts], results: Sequence[Result], threads: int, rounds: int, remarks: Sequence[str] = ()
    ) -> "Report":
        """The report of a run on this machine.

        Args:
            nets: what was timed.
            results: of the race.
            threads: of each contender.
            rounds: turns of each.
            remarks: lines after the tables.
        """
        return Report(cpu_name(), versions(), threads, rounds, tuple(nets), tuple(results), tuple(remarks))

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it; times in seconds, memory in bytes."""
        nets = []
        for facts in self.nets:
            rows = [_row(result) for result in self.results if result.net == facts.name]
            nets.append(asdict(facts) | {"contenders": rows})
        return {
            "cpu": self.cpu,
            "versions": self.versions,
            "threads": self.threads,
            "rounds": self.rounds,
            "nets": nets,
            "remarks": list(self.remarks),
        }

    def __str__(self) -> str:
        head = f"{self.cpu}; {self.threads} thread(s) each, batch 1, medians of {self.rounds} round(s)"
        libraries = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        tables = [line for facts in self.nets for line in self._table(facts)]
        return "\n".join([head, libraries, *tables, *(["", *self.remarks] if self.remarks else [])])

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
            if notes and result.error is None:
                lines.append(f"  {result.contender}: {'; '.join(notes)}")
        return lines


def _heading(facts: NetFacts) -> list[str]:
    what = "picture to detections" if facts.detector else "tensor to raw outputs"
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


def _row(result: Result) -> dict[str, Any]:
    row = asdict(result)
    del row["net"]
    if result.error is not None:
        return {"contender": result.contender, "error": result.error}
    if result.turns:
        low, high = result.quartiles
        row |= {"seconds": result.seconds, "first_quartile": low, "third_quartile": high}
    return row
