"""nn.Module -> artifact of the runtime: trace, fold, write, verify."""

from bnn_tasks.export.builder import ExportError, ParityError
from bnn_tasks.export.verify import Parity
from bnn_tasks.export.writer import ExportReport, export

__all__ = ["ExportError", "ExportReport", "Parity", "ParityError", "export"]
