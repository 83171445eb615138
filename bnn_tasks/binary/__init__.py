"""The only package that knows what "binary" means: estimators, binarisers, layers, methods, conversion, profile."""

from bnn_tasks.binary.activations import ActivationBinarizer, RSign, SignActivation
from bnn_tasks.binary.convert import binarize
from bnn_tasks.binary.estimators import (
    DSQ,
    EDE,
    FDA,
    STE,
    ApproxSign,
    ClippedSTE,
    Estimator,
    SignSwish,
    Tanh,
    TrainingAware,
    sign,
)
from bnn_tasks.binary.geometry import Geometry, LayerShape
from bnn_tasks.binary.layers import BinaryConv2d, BinaryLinear, check_layers, tie_to_size, untied_layers
from bnn_tasks.binary.methods import (
    Method,
    abc_net,
    bitwise,
    dorefa,
    format_methods,
    get_method,
    horq,
    list_methods,
)
from bnn_tasks.binary.progress import Scheduled, set_progress
from bnn_tasks.binary.rprelu import RPReLU
from bnn_tasks.binary.schedules import Constant, Cosine, OneCycle, Schedule
from bnn_tasks.binary.terms import Ones, Real, Residual, Term, Terms, Threshold, evaluate
from bnn_tasks.binary.weights import (
    AnalyticScale,
    LearnedScale,
    MagnitudeAware,
    SignWeight,
    WeightBinarizer,
)

__all__ = [
    "DSQ",
    "EDE",
    "FDA",
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
    "Geometry",
    "LayerShape",
    "LearnedScale",
    "MagnitudeAware",
    "Method",
    "OneCycle",
    "Ones",
    "RPReLU",
    "RSign",
    "Real",
    "Residual",
    "Schedule",
    "Scheduled",
    "SignActivation",
    "SignSwish",
    "SignWeight",
    "Tanh",
    "Term",
    "Terms",
    "Threshold",
    "TrainingAware",
    "WeightBinarizer",
    "abc_net",
    "binarize",
    "check_layers",
    "bitwise",
    "dorefa",
    "evaluate",
    "format_methods",
    "get_method",
    "horq",
    "list_methods",
    "set_progress",
    "sign",
    "tie_to_size",
    "untied_layers",
]
