"""``python -m bnn_tasks.data.synthetic ROOT`` writes a generated detection set."""

import argparse

from bnn_tasks.data.synthetic.once import DEFAULT_CLASSES
from bnn_tasks.data.synthetic.shapes import SHAPES
from bnn_tasks.data.synthetic.writer import generate


def main() -> None:
    """Parse the arguments and generate."""
    parser = argparse.ArgumentParser(prog="python -m bnn_tasks.data.synthetic", description=__doc__)
    parser.add_argument("root", help="folder to make")
    parser.add_argument("--images", type=int, default=600, metavar="N", help="number of pictures (default: 600)")
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), metavar=("H", "W"), help="default: 240 320")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default: 0")
    parser.add_argument("--classes", nargs="+", choices=sorted(SHAPES), default=DEFAULT_CLASSES)
    arguments = parser.parse_args()
    try:
        generate(arguments.root, arguments.images, tuple(arguments.size), arguments.seed, arguments.classes)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
