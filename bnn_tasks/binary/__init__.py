"""The only package that knows what "binary" means: estimators, binarisers, layers, methods, conversion, profile."""

from bnn_tasks.binary.activations import ActivationBinarizer, RSign, SignActivation
from bnn_tasks.binary.attack_surrogate import (
    AttackSurrogate,
    SpreadScaled,
    attack_surrogate,
    spread_tanh,
    surrogate_in_force,
)
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
    get_estimator,
    list_estimators,
    sign,
)
from bnn_tasks.binary.geometry import Geometry, LayerShape
from bnn_tasks.binary.layers import BinaryConv2d, BinaryLinear
from bnn_tasks.binary.methods import (
    Method,
    abc_net,
    bitwise,
    dorefa,
    format_methods,
    get_method,
    horq,
    list_methods,
    with_real_weights,
)
from bnn_tasks.binary.optim import (
    Bop,
    CaseOptimizer,
    ShiftAdaMax,
    ShiftBatchNorm2d,
    ap2,
    register_latent_updates,
)
from bnn_tasks.binary.progress import Scheduled, set_progress
from bnn_tasks.binary.reestimate import reestimate_batchnorm, set_batchnorm_momentum
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
from bnn_tasks.binary.whole_net import check_layers, tie_to_size, untied_layers

__all__ = [
    "DSQ",
    "EDE",
    "FDA",
    "STE",
    "ActivationBinarizer",
    "AnalyticScale",
    "ApproxSign",
    "AttackSurrogate",
    "BinaryConv2d",
    "BinaryLinear",
    "Bop",
    "CaseOptimizer",
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
    "ShiftAdaMax",
    "ShiftBatchNorm2d",
    "SignActivation",
    "SignSwish",
    "SignWeight",
    "SpreadScaled",
    "Tanh",
    "Term",
    "Terms",
    "Threshold",
    "TrainingAware",
    "WeightBinarizer",
    "abc_net",
    "ap2",
    "attack_surrogate",
    "binarize",
    "bitwise",
    "check_layers",
    "dorefa",
    "evaluate",
    "format_methods",
    "get_estimator",
    "get_method",
    "horq",
    "list_estimators",
    "list_methods",
    "reestimate_batchnorm",
    "register_latent_updates",
    "set_batchnorm_momentum",
    "set_progress",
    "sign",
    "spread_tanh",
    "surrogate_in_force",
    "tie_to_size",
    "untied_layers",
    "with_real_weights",
]
