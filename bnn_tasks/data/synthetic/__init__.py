"""A generated detection set: what the tests and a first run train on."""

from bnn_tasks.data.synthetic.generate import generate
from bnn_tasks.data.synthetic.module import SyntheticDetectionData
from bnn_tasks.data.synthetic.shapes import SHAPES

__all__ = ["SHAPES", "SyntheticDetectionData", "generate"]
