"""The only package that knows what "binary" means: estimators, binarisers, layers, methods, conversion, profile."""

from bnn_tasks.binary.activations import ActivationBinarizer, RSign, SignActivation
from bnn_tasks.binary.convert import binarize
from bnn_tasks.binary.estimators import STE, ApproxSign, ClippedSTE, Estimator, sign
from bnn_tasks.binary.layers import BinaryConv2d, BinaryLinear
from bnn_tasks.binary.methods import Method, get_method, list_methods
from bnn_tasks.binary.rprelu import RPReLU
from bnn_tasks.binary.schedules import Constant, Cosine, OneCycle, Schedule
from bnn_tasks.binary.terms import Term, Terms, Threshold
from bnn_tasks.binary.weights import AnalyticScale, LearnedScale, MagnitudeAware, SignWeight, WeightBinarizer

__all__ = [
    "STE",
    "ActivationBinarizer",
    "AnalyticScale",
    "ApproxSign",
    "BinaryConv2d",
    "BinaryLinear",
    "ClippedSTE",
    "Constant",
    "Cosine",
    "Estimator",
    "LearnedScale",
    "MagnitudeAware",
    "Method",
    "OneCycle",
    "RPReLU",
    "RSign",
    "Schedule",
    "SignActivation",
    "SignWeight",
    "Term",
    "Terms",
    "Threshold",
    "WeightBinarizer",
    "binarize",
    "get_method",
    "list_methods",
    "sign",
]
