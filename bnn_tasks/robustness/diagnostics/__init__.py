"""Diagnostics: what a perturbation does on its way through a net, and whether an attack's gradients can be believed."""

from bnn_tasks.robustness.diagnostics.amplification import noise_amplification
from bnn_tasks.robustness.diagnostics.gradients import gradient_cosine, input_gradient, zero_gradient_share
from bnn_tasks.robustness.diagnostics.matched_noise import matched_noise
from bnn_tasks.robustness.diagnostics.outputs import output_spread, saturated_share
from bnn_tasks.robustness.diagnostics.sensitivity import LayerSensitivity, Sensitivity, sensitivity
from bnn_tasks.robustness.diagnostics.signs import beyond_clip, sign_flips
from bnn_tasks.robustness.diagnostics.slices import LossLine, LossPlane, loss_line, loss_plane
from bnn_tasks.robustness.diagnostics.spectral import spectral_norm, spectral_norms

__all__ = [
    "LayerSensitivity",
    "LossLine",
    "LossPlane",
    "Sensitivity",
    "beyond_clip",
    "gradient_cosine",
    "input_gradient",
    "loss_line",
    "loss_plane",
    "matched_noise",
    "noise_amplification",
    "output_spread",
    "saturated_share",
    "sensitivity",
    "sign_flips",
    "spectral_norm",
    "spectral_norms",
    "zero_gradient_share",
]
