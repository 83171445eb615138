"""What a study does besides attacks at one ε: each examination is one question, with figures and a picture of its own."""

from bnn_tasks.tasks.robustness.examinations.base import Examination
from bnn_tasks.tasks.robustness.examinations.corruptions import CorruptedImages, Corruptions
from bnn_tasks.tasks.robustness.examinations.flipped_bits import FlipCurves, FlippedBits
from bnn_tasks.tasks.robustness.examinations.gradient_cosines import Cosines, GradientCosines
from bnn_tasks.tasks.robustness.examinations.loss_slices import LossSlices, Slices
from bnn_tasks.tasks.robustness.examinations.spectral_norms import LayerNorms, SpectralNorms
from bnn_tasks.tasks.robustness.examinations.transfer_matrix import TransferMatrix, TransferTable

__all__ = [
    "CorruptedImages",
    "Corruptions",
    "Cosines",
    "Examination",
    "FlipCurves",
    "FlippedBits",
    "GradientCosines",
    "LayerNorms",
    "LossSlices",
    "Slices",
    "SpectralNorms",
    "TransferMatrix",
    "TransferTable",
]
