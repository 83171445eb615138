"""What is written or drawn during a run: checkpoints, results, sample pictures, telemetry, damaged images."""

from bnn_tasks.callbacks.attack_report import AttackReport
from bnn_tasks.callbacks.checkpoint import LastCheckpoint
from bnn_tasks.callbacks.corruption_report import CorruptionReport
from bnn_tasks.callbacks.damaged import DamagedImages
from bnn_tasks.callbacks.detection_curves import DetectionCurves
from bnn_tasks.callbacks.float_weights import FloatBackboneWeights
from bnn_tasks.callbacks.frozen_batchnorm import FrozenBatchNorm
from bnn_tasks.callbacks.reestimate import ReestimateBatchNorm
from bnn_tasks.callbacks.results import ResultsWriter
from bnn_tasks.callbacks.robustness_report import RobustnessReport
from bnn_tasks.callbacks.samples import SamplePictures
from bnn_tasks.callbacks.start_weights import BackboneWeights, ModelWeights
from bnn_tasks.callbacks.telemetry import Telemetry

__all__ = [
    "AttackReport",
    "BackboneWeights",
    "CorruptionReport",
    "DamagedImages",
    "DetectionCurves",
    "FloatBackboneWeights",
    "FrozenBatchNorm",
    "LastCheckpoint",
    "ModelWeights",
    "ReestimateBatchNorm",
    "ResultsWriter",
    "RobustnessReport",
    "SamplePictures",
    "Telemetry",
]
