"""Put reports of RobustnessTask side by side: python scripts/compare_robustness.py runs/*/robustness."""

import argparse

from bnn_tasks.cli import errors_in_a_line
from bnn_tasks.compare.robustness import robustness_table


def main() -> None:
    """Parse the command line, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reports", nargs="+", help="results.json, or the folders that they are in")
    print(robustness_table(parser.parse_args().reports))


if __name__ == "__main__":
    with errors_in_a_line("compare_robustness.py"):
        main()
