"""Attacks in plain torch: batched, seeded, with a book kept image by image."""

from bnn_tasks.robustness.attacks.apgd import APGD
from bnn_tasks.robustness.attacks.base import Attack, Attacked, common_norm
from bnn_tasks.robustness.attacks.carlini_wagner import CarliniWagner
from bnn_tasks.robustness.attacks.eot import EOT
from bnn_tasks.robustness.attacks.fgsm import FGSM, RFGSM
from bnn_tasks.robustness.attacks.hop_skip_jump import HopSkipJump
from bnn_tasks.robustness.attacks.ledger import Ledger
from bnn_tasks.robustness.attacks.momentum import MIFGSM
from bnn_tasks.robustness.attacks.noise import RandomNoise
from bnn_tasks.robustness.attacks.pgd import PGD
from bnn_tasks.robustness.attacks.raising import Raising, TargetedDLR
from bnn_tasks.robustness.attacks.reduced_radius import ReducedRadiusAPGD
from bnn_tasks.robustness.attacks.square import Square
from bnn_tasks.robustness.attacks.surrogate_sweep import SurrogateSweep, default_surrogates
from bnn_tasks.robustness.attacks.temperature import HNS, NJS, TemperatureScaled
from bnn_tasks.robustness.attacks.transfer import MeanLogits, Transfer
from bnn_tasks.robustness.attacks.worst_case import MembersAttacked, WorstCase

__all__ = [
    "APGD",
    "EOT",
    "FGSM",
    "HNS",
    "MIFGSM",
    "NJS",
    "PGD",
    "RFGSM",
    "Attack",
    "Attacked",
    "CarliniWagner",
    "HopSkipJump",
    "Ledger",
    "MeanLogits",
    "MembersAttacked",
    "Raising",
    "RandomNoise",
    "ReducedRadiusAPGD",
    "Square",
    "SurrogateSweep",
    "TargetedDLR",
    "TemperatureScaled",
    "Transfer",
    "WorstCase",
    "common_norm",
    "default_surrogates",
]
