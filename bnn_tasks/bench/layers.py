"""`bnn-tasks bench --layers MODEL`: where an artifact's time goes, step by step, and how near each is to the core's peak."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bnn_tasks.bench.machine import cpu_name, versions
from bnn_tasks.bench.whole import check_numbers
from bnn_tasks.runtime import Session


@dataclass(frozen=True)
class Step:
    """One fused step.

    Attributes:
        name: of the step.
        kind: of the step.
        seconds: median.
        binary_ops: two a multiply-add, on bits.
        float_ops: the same, on floats.
        peak: share of what all threads could do at most on bits, or on floats, whichever the step has more of; 0 for none.
    """

    name: str
    kind: str
    seconds: float
    binary_ops: int
    float_ops: int
    peak: float

    @property
    def rate(self) -> float:
        """Operations a second."""
        return max(self.binary_ops, self.float_ops) / self.seconds


@dataclass(frozen=True)
class LayerReport:
    """One run.

    Attributes:
        cpu: the processor.
        versions: of Python and the libraries.
        model: the artifact.
        size: (height, width) of the input, pixels.
        threads: of the session.
        popcount_peak: operations a second of one core in a loop of XNOR and popcount on registers.
        fma_peak: the same, of fused multiply-adds.
        steps: in order.
    """

    cpu: str
    versions: dict[str, str]
    model: str
    size: tuple[int, int]
    threads: int
    popcount_peak: float
    fma_peak: float
    steps: tuple[Step, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it; times in seconds."""
        return asdict(self) | {"kinds": {kind: asdict(_sum(kind, own)) for kind, own in self._kinds().items()}}

    def _kinds(self) -> dict[str, list[Step]]:
        kinds: dict[str, list[Step]] = {}
        for step in self.steps:
            kinds.setdefault(step.kind, []).append(step)
        return kinds

    def __str__(self) -> str:
        total = sum(step.seconds for step in self.steps)
        width = max(len(step.name) for step in self.steps)
        kinds = max(len(step.kind) for step in self.steps)

        def line(step: Step, name: str) -> str:
            rate = f"{step.rate / 1e12:>9.3f}{100 * step.peak:>8.1f}" if step.peak else f"{'-':>9}{'-':>8}"
            share = 100 * step.seconds / total
            return f"{name:<{width}}  {step.kind:<{kinds}}{1e6 * step.seconds:>10.1f}{share:>8.1f}{rate}"

        return "\n".join(
            [
                f"{self.cpu}; {self.threads} thread(s), batch 1, medians",
                ", ".join(f"{name} {version}" for name, version in self.versions.items()),
                f"peak of one core: {self.popcount_peak / 1e12:.3f} T op/s on bits, {self.fma_peak / 1e12:.3f} on floats"
                + (f"; shares are of {self.threads} times that" if self.threads > 1 else ""),
                "",
                f"{self.model}, {self.size[0]}×{self.size[1]}",
                f"{'':<{width}}  {'':<{kinds}}{'µs':>10}{'%':>8}{'T op/s':>9}{'% peak':>8}",
                *(line(step, step.name) for step in self.steps),
                "",
                *(line(_sum(kind, own), f"{len(own)} step(s)") for kind, own in self._kinds().items()),
                f"{'all':<{width}}  {'':<{kinds}}{1e6 * total:>10.1f}",
            ]
        )


def _sum(kind: str, steps: Sequence[Step]) -> Step:
    """All steps of a kind as one; its share of the peak is that of the time in which there was something to count."""
    seconds = sum(step.seconds for step in steps)
    counted = [step for step in steps if step.peak]
    peak = sum(step.peak * step.seconds for step in counted) / (sum(step.seconds for step in counted) or 1.0)
    bits, floats = sum(step.binary_ops for step in steps), sum(step.float_ops for step in steps)
    return Step(kind, kind, seconds, bits, floats, peak)


def bench_layers(
    model: str | os.PathLike[str], threads: int = 1, size: tuple[int, int] | None = None, repeats: int = 50
) -> LayerReport:
    """Time an artifact's fused steps. Needs no torch.

    Args:
        model: the artifact.
        threads: of the session.
        size: (height, width) of the input; None takes the artifact's first.
        repeats: passes, of which the median counts.

    Returns:
        The report.

    Raises:
        ArtifactError: the file is no artifact.
        OSError: the file cannot be read.
        ValueError: an argument is out of range, the net cannot run at this size, or NUMBA_DISABLE_JIT is set.
    """
    from bnn_tasks.runtime.program import timing

    check_numbers(threads, repeats)
    session = Session(model, threads)
    if size is None:
        if session.resize is None:
            raise ValueError(f"Expected --size H W, since {os.fspath(model)!r} fixes no input size.")
        size = session.resize.sizes[0]
    timed = timing.time_steps(session, size[0], size[1], repeats)
    bits, floats = timing.popcount_peak(), timing.fma_peak()
    steps = []
    for step in timed:
        most = (bits if step.binary_ops >= step.float_ops else floats) * threads
        peak = max(step.binary_ops, step.float_ops) / step.seconds / most
        steps.append(Step(step.name, step.kind, step.seconds, step.binary_ops, step.float_ops, peak))
    return LayerReport(cpu_name(), versions(), os.fspath(model), size, threads, bits, floats, tuple(steps))
