"""sign(x), and the surrogate gradients that stand in for its derivative."""

from bnn_tasks.binary.estimators.base import Estimator, sign
from bnn_tasks.binary.estimators.fixed import FDA, STE, ApproxSign, ClippedSTE, SignSwish, Tanh
from bnn_tasks.binary.estimators.registry import get_estimator, list_estimators
from bnn_tasks.binary.estimators.scheduled import DSQ, EDE, TrainingAware

__all__ = [
    "DSQ",
    "EDE",
    "FDA",
    "STE",
    "ApproxSign",
    "ClippedSTE",
    "Estimator",
    "SignSwish",
    "Tanh",
    "TrainingAware",
    "get_estimator",
    "list_estimators",
    "sign",
]
