"""Activation binarisers: a real tensor in, a sum of ±1 planes out, and the same as rules for the runtime."""

from bnn_tasks.binary.activations.base import ActivationBinarizer, Plane
from bnn_tasks.binary.activations.bases import AffineSign, ResidualPlanes, ShiftedBases, SoftQuantized, ZeroOne
from bnn_tasks.binary.activations.sign import RealActivation, RSign, ScaledSign, SignActivation
from bnn_tasks.binary.activations.soft import TanhActivation, TwoPhaseSign

__all__ = [
    "ActivationBinarizer",
    "AffineSign",
    "Plane",
    "RSign",
    "RealActivation",
    "ResidualPlanes",
    "ScaledSign",
    "ShiftedBases",
    "SignActivation",
    "SoftQuantized",
    "TanhActivation",
    "TwoPhaseSign",
    "ZeroOne",
]
