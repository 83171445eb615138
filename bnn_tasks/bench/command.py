"""The command line's `bench`, between its words and the three measurements."""

import json
import signal
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from bnn_tasks.bench.contenders import FAMILIES
from bnn_tasks.bench.convolutions import bench_convolutions
from bnn_tasks.bench.layers import LayerReport, bench_layers
from bnn_tasks.bench.output import check_writable
from bnn_tasks.bench.report import Report
from bnn_tasks.bench.whole import bench


def run_bench(options: Namespace) -> str:
    """Measure what the options say, write the JSON, and return the table.

    Args:
        options: of `bnn-tasks bench`.

    Raises:
        ValueError: options that do not go together, or out of range, or the JSON cannot be written.
        OSError: a file cannot be read.
    """
    if options.json:
        check_writable("--json", options.json)
    if options.convolutions == (options.model is not None):
        raise ValueError("Expected either MODEL.safetensors or --convolutions.")
    if options.layers or options.convolutions:
        mode = "--layers" if options.layers else "--convolutions"
        given = {"--against": options.against, "--images": options.images, "--float-net": options.float_net}
        if options.convolutions:
            given["--size"] = options.size
        meaningless = [name for name, value in given.items() if value is not None]
        if meaningless:
            raise ValueError(
                f"Expected {mode} without {', '.join(meaningless)}: no other net runs, and on noise alone."
            )
    with _stopped_by_sigterm():
        report = _measured(options)
    if options.json:
        Path(options.json).write_text(json.dumps(report.to_dict(), indent=1) + "\n", "utf-8")
    return str(report)


def _measured(options: Namespace) -> Report | LayerReport:
    size = tuple(options.size) if options.size else None
    if options.layers:
        return bench_layers(options.model, options.threads, size, options.repeats)
    if options.convolutions:
        return bench_convolutions(options.threads, options.repeats, say=_say)
    against = [name for name in (options.against or ",".join(FAMILIES)).split(",") if name]
    return bench(
        options.model,
        against,
        threads=options.threads,
        size=size,
        rounds=options.repeats,
        images=options.images,
        float_model=options.float_net,
        say=_say,
    )


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Context in which SIGTERM ends the process as Ctrl-C does: the contenders' processes and their folder go with it."""

    def stop(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)
