"""Many methods under one recipe: fit and test each in turn, then print the table; what is done already is not done again."""

import argparse
import json
from pathlib import Path

from bnn_tasks.binary import get_method
from bnn_tasks.cli import main as bnn_tasks

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


def run(config: str, method: str, folder: Path, options: list[str]) -> dict[str, float]:
    """Fit and test one method below `folder`; a killed fit goes on from its last checkpoint."""
    checkpoint, results = folder / "checkpoints" / "last.ckpt", folder / "results.json"
    arguments = ["--config", config, METHOD, method, "--trainer.default_root_dir", str(folder), *options]
    if not (results.exists() and "test" in json.loads(results.read_text())):
        bnn_tasks(["fit", *arguments, *(["--ckpt_path", str(checkpoint)] if checkpoint.exists() else [])])
        bnn_tasks(["test", *arguments, "--ckpt_path", str(checkpoint)])
    metrics: dict[str, float] = json.loads(results.read_text())["test"]["metrics"]
    return metrics


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--config", default=CONFIG)
    parser.add_argument("--out", default="runs/cifar10_resnet14_methods", help="a folder a method is made in it")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument(
        "--options", nargs=argparse.REMAINDER, default=[], help="the rest goes to bnn-tasks fit and test"
    )
    options = parser.parse_args()
    for method in options.methods:
        get_method(method)
    rows = {
        method: run(options.config, method, Path(options.out) / method, options.options) for method in options.methods
    }
    print(f"{'method':<16} {'test top-1':>10} {'loss':>8}")
    for method, metrics in sorted(rows.items(), key=lambda row: -row[1]["test/top1"]):
        print(f"{method:<16} {100 * metrics['test/top1']:>9.2f}% {metrics['test/loss']:>8.4f}")


if __name__ == "__main__":
    main()
