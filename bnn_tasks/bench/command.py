"""The command line's `bench`, between its words and the three measurements."""

import json
import sys
from argparse import Namespace
from pathlib import Path

from bnn_tasks.bench.contenders import FAMILIES
from bnn_tasks.bench.convolutions import bench_convolutions
from bnn_tasks.bench.layers import LayerReport, bench_layers
from bnn_tasks.bench.report import Report
from bnn_tasks.bench.whole import bench


def run_bench(options: Namespace) -> str:
    """Measure what the options say, write the JSON, and return the table.

    Args:
        options: of `bnn-tasks bench`.

    Raises:
        ValueError: options that do not go together, or out of range.
        OSError: a file cannot be read or written.
    """
    if options.json and not Path(options.json).resolve().parent.is_dir():  # said before the minutes, not after
        raise ValueError(f"Expected --json in a folder that exists, but got {options.json!r}.")
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
    size = tuple(options.size) if options.size else None
    report: Report | LayerReport
    if options.layers:
        report = bench_layers(options.model, options.threads, size, options.repeats)
    elif options.convolutions:
        report = bench_convolutions(options.threads, options.repeats, say=_say)
    else:
        against = [name for name in (options.against or ",".join(FAMILIES)).split(",") if name]
        report = bench(
            options.model,
            against,
            threads=options.threads,
            size=size,
            rounds=options.repeats,
            images=options.images,
            float_model=options.float_net,
            say=_say,
        )
    if options.json:
        Path(options.json).write_text(json.dumps(report.to_dict(), indent=1) + "\n", "utf-8")
    return str(report)


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)
