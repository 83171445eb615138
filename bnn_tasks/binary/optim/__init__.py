"""Update rules of binary training: Bop, two optimisers as one, shift-based AdaMax, the latent weights' care after a step."""

from bnn_tasks.binary.optim.bop import Bop
from bnn_tasks.binary.optim.case import CaseOptimizer
from bnn_tasks.binary.optim.latent import register_latent_updates
from bnn_tasks.binary.optim.shift import ShiftAdaMax, ShiftBatchNorm2d, ap2

__all__ = ["Bop", "CaseOptimizer", "ShiftAdaMax", "ShiftBatchNorm2d", "ap2", "register_latent_updates"]
