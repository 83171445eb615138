"""How much of its real twin's local features a detector holds: R² by backbone stage and pyramid level on held-out images."""

import argparse
import json
import math
from dataclasses import asdict
from itertools import islice
from pathlib import Path

from bnn_tasks.cli import errors_in_a_line
from bnn_tasks.tasks import DetectionTask
from bnn_tasks.tasks.checkpoint import load_task
from bnn_tasks.tasks.retention import retention
from bnn_tasks.training import TrainingCLI


def detector(path: str) -> DetectionTask:
    """The task of a detector's checkpoint.

    Args:
        path: of the checkpoint.

    Raises:
        ValueError: it is none of a detector.
    """
    task = load_task(path)
    if not isinstance(task, DetectionTask):
        raise ValueError(f"Expected {path!r} to be a detector's checkpoint, but it is of a {type(task).__name__}.")
    return task


def main() -> None:
    """Print the table, and write it where `--out` says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="whose data to use: the config of the training")
    parser.add_argument("checkpoint", help="of the binary detector")
    parser.add_argument("twin", help="checkpoint of its real twin, with maps of the same sizes")
    parser.add_argument("--split", default="val", choices=("val", "test"))
    parser.add_argument("--batches", type=int, help="of the split to use; by default all")
    parser.add_argument("--ridge", type=float, default=1e-6, help="in units of a channel's variance, which is 1")
    parser.add_argument("--out", help="JSON file to write")
    options = parser.parse_args()
    data = TrainingCLI(["--config", options.config], run=False).datamodule
    data.setup({"val": "validate", "test": "test"}[options.split])
    loader = {"val": data.val_dataloader, "test": data.test_dataloader}[options.split]()
    net, twin = detector(options.checkpoint).model, detector(options.twin).model
    result = retention(net, twin, islice(loader, options.batches), options.ridge)
    print(result)
    if options.out is not None:
        content = {**vars(options), **asdict(result)}
        for level in content["levels"]:
            level["r2"] = level["r2"] if math.isfinite(level["r2"]) else None
        Path(options.out).parent.mkdir(parents=True, exist_ok=True)
        Path(options.out).write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    with errors_in_a_line("retention.py"):
        main()
