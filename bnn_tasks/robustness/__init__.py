"""Attacks, corruptions, diagnostics and defences: functions on images in [0, 1]."""

from bnn_tasks.robustness.adversarial_training import CleanTraining, PGDTraining, TrainingObjective
from bnn_tasks.robustness.attacks import (
    APGD,
    EOT,
    FGSM,
    HNS,
    MIFGSM,
    NJS,
    PGD,
    RFGSM,
    Attack,
    Attacked,
    CarliniWagner,
    HopSkipJump,
    MeanLogits,
    MembersAttacked,
    Raising,
    RandomNoise,
    Square,
    SurrogateSweep,
    TargetedDLR,
    TemperatureScaled,
    Transfer,
    WorstCase,
    default_surrogates,
)
from bnn_tasks.robustness.corruptions import CORRUPTIONS, Corruption, CorruptionScores, corrupt
from bnn_tasks.robustness.dlr import DLRObjective, TargetedDLRObjective
from bnn_tasks.robustness.facts import Facts
from bnn_tasks.robustness.free_training import FreeTraining
from bnn_tasks.robustness.norms import NORMS, get_norm
from bnn_tasks.robustness.objective import (
    ClassificationObjective,
    CrossEntropyObjective,
    MarginObjective,
    Model,
    Objective,
)
from bnn_tasks.robustness.orthogonality import CosinePenalty, FrobeniusPenalty
from bnn_tasks.robustness.segmentation_losses import CosPGDLoss, PixelCrossEntropy, SegPGDLoss
from bnn_tasks.robustness.trades import TRADES
from bnn_tasks.robustness.verdict import Verdict, judge
from bnn_tasks.robustness.weight_views import EffectiveWeights, LatentWeights, ScaledBinaryWeights

__all__ = [
    "APGD",
    "CORRUPTIONS",
    "EOT",
    "FGSM",
    "HNS",
    "MIFGSM",
    "NJS",
    "NORMS",
    "PGD",
    "RFGSM",
    "TRADES",
    "Attack",
    "Attacked",
    "CarliniWagner",
    "ClassificationObjective",
    "CleanTraining",
    "Corruption",
    "CorruptionScores",
    "CosPGDLoss",
    "CosinePenalty",
    "CrossEntropyObjective",
    "DLRObjective",
    "EffectiveWeights",
    "Facts",
    "FreeTraining",
    "FrobeniusPenalty",
    "HopSkipJump",
    "LatentWeights",
    "MarginObjective",
    "MeanLogits",
    "MembersAttacked",
    "Model",
    "Objective",
    "PGDTraining",
    "PixelCrossEntropy",
    "Raising",
    "RandomNoise",
    "ScaledBinaryWeights",
    "SegPGDLoss",
    "Square",
    "SurrogateSweep",
    "TargetedDLR",
    "TargetedDLRObjective",
    "TemperatureScaled",
    "TrainingObjective",
    "Transfer",
    "Verdict",
    "WorstCase",
    "corrupt",
    "default_surrogates",
    "get_norm",
    "judge",
]
