"""Weight binarisers: a latent weight in, a sum of scaled ±1 bases out."""

from bnn_tasks.binary.weights.base import Basis, WeightBinarizer
from bnn_tasks.binary.weights.bases import AffineWeight, LeastSquaresBases, SoftQuantizedWeight
from bnn_tasks.binary.weights.circulant import CirculantFilters
from bnn_tasks.binary.weights.loss_aware import LossAware
from bnn_tasks.binary.weights.normalized import LibraPB, RectifiedClamp
from bnn_tasks.binary.weights.real import RealWeight
from bnn_tasks.binary.weights.rotated import RotatedSign
from bnn_tasks.binary.weights.sign import (
    AnalyticScale,
    BopWeight,
    LayerScale,
    LearnedScale,
    MagnitudeAware,
    SignWeight,
    StochasticSign,
)
from bnn_tasks.binary.weights.soft import BitwiseWeight, TanhWeight

__all__ = [
    "AffineWeight",
    "AnalyticScale",
    "Basis",
    "BitwiseWeight",
    "BopWeight",
    "CirculantFilters",
    "LayerScale",
    "LearnedScale",
    "LeastSquaresBases",
    "LibraPB",
    "LossAware",
    "MagnitudeAware",
    "RealWeight",
    "RectifiedClamp",
    "RotatedSign",
    "SignWeight",
    "SoftQuantizedWeight",
    "StochasticSign",
    "TanhWeight",
    "WeightBinarizer",
]
