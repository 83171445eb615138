"""A generated detection set: what the tests and a first run train on."""

from bnn_tasks.data.synthetic.module import SyntheticDetectionData
from bnn_tasks.data.synthetic.shapes import SHAPES
from bnn_tasks.data.synthetic.writer import generate

__all__ = ["SHAPES", "SyntheticDetectionData", "generate"]
