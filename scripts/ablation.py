"""Train a detector with other blocks in backbone, neck and head, over several seeds: python scripts/ablation.py --help."""

import argparse

from bnn_tasks.cli import errors_in_a_line
from bnn_tasks.compare.ablation import VARIANTS, ablate


def main() -> None:
    """Parse the command line, train what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/detection/bccd_retinanet_r18_binary.yaml")
    parser.add_argument("--out", default="runs/ablation")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="trainings at the same time")
    parser.add_argument("--no-test", action="store_true", help="evaluate on val alone, to choose settings by")
    options, overrides = parser.parse_known_args()
    splits = ("validate",) if options.no_test else ("validate", "test")
    print(ablate(options.config, options.out, options.variants, options.seeds, options.jobs, overrides, splits))


if __name__ == "__main__":
    with errors_in_a_line("ablation.py"):
        main()
