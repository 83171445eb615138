"""Many methods under one recipe: fit and test each in turn, then print the table.

What is done already is not done again, and a killed fit goes on from its last checkpoint; other settings need another --out.
"""

import argparse
import sys
from pathlib import Path

from bnn_tasks.binary import get_method
from bnn_tasks.cli import errors_in_a_line
from bnn_tasks.compare.training_run import Run, read_config

CONFIG = "configs/classification/cifar10_resnet14_methods.yaml"
METHOD = "--model.init_args.model.init_args.backbone.init_args.block.init_args.method"
METHODS = [
    "bnn",
    "xnor",
    "dorefa",
    "abc_net",
    "bireal",
    "bnn_plus",
    "dsq",
    "ir_net",
    "react",
    "rbnn",
    "recu",
    "fda",
    "adabin",
]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default=CONFIG)
    parser.add_argument("--out", default="runs/cifar10_resnet14_methods", help="a folder a method is made in it")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument(
        "--options", nargs=argparse.REMAINDER, default=[], help="the rest goes to bnn-tasks fit and test"
    )
    options = parser.parse_args()
    for method in options.methods:
        get_method(method)
    base = read_config(options.config)
    runs = {method: Run(method, Path(options.out) / method) for method in options.methods}
    overrides = {method: [METHOD, method, *options.options] for method in runs}
    for method, run in runs.items():
        run.settle(base, overrides[method])
    for method, run in runs.items():
        print(f"{method}: its output goes to {run.folder}/*.log", file=sys.stderr, flush=True)
        run.train(base, overrides[method], ("test",))
    rows = {method: run.result()["test"]["metrics"] for method, run in runs.items()}
    print(f"{'method':<16} {'test top-1':>10} {'loss':>8}")
    for method, metrics in sorted(rows.items(), key=lambda row: -row[1]["test/top1"]):
        print(f"{method:<16} {100 * metrics['test/top1']:>9.2f}% {metrics['test/loss']:>8.4f}")


if __name__ == "__main__":
    with errors_in_a_line("compare_methods.py"):
        main()
