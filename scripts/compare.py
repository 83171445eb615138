"""A checkpoint beside its artifact on a split: average precision, accuracy or mIoU, parity, size, time, contact sheet."""

import argparse

from bnn_tasks.cli import errors_in_a_line
from bnn_tasks.compare import compare
from bnn_tasks.training import TrainingCLI


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("config", help="the config of the training")
    parser.add_argument("checkpoint", help="what fit wrote")
    parser.add_argument("artifact", help="what export made of it")
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sheet", help="PNG to write: ground truth beside the artifact's results")
    options = parser.parse_args()
    data = TrainingCLI(["--config", options.config], run=False).datamodule
    print(
        compare(
            options.checkpoint,
            options.artifact,
            data,
            split=options.split,
            threads=options.threads,
            sheet=options.sheet,
        )
    )


if __name__ == "__main__":
    with errors_in_a_line("compare.py"):
        main()
