"""What is written or drawn during a run: checkpoints, results, sample pictures, telemetry, damaged images."""

from bnn_tasks.callbacks.checkpoint import LastCheckpoint
from bnn_tasks.callbacks.damaged import DamagedImages
from bnn_tasks.callbacks.reestimate import ReestimateBatchNorm
from bnn_tasks.callbacks.results import ResultsWriter
from bnn_tasks.callbacks.samples import SamplePictures
from bnn_tasks.callbacks.telemetry import Telemetry

__all__ = ["DamagedImages", "LastCheckpoint", "ReestimateBatchNorm", "ResultsWriter", "SamplePictures", "Telemetry"]
