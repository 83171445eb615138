"""Named binarisation methods: the survey's Table 1 as data."""

from bnn_tasks.binary.methods.method import Method
from bnn_tasks.binary.methods.real_weights import with_real_weights
from bnn_tasks.binary.methods.registry import format_methods, get_method, list_methods
from bnn_tasks.binary.methods.survey import abc_net, bitwise, dorefa, horq
from bnn_tasks.binary.methods.unbuilt import UNBUILT

__all__ = [
    "UNBUILT",
    "Method",
    "abc_net",
    "bitwise",
    "dorefa",
    "format_methods",
    "get_method",
    "horq",
    "list_methods",
    "with_real_weights",
]
