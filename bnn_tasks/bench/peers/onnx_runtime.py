"""The float twin in ONNX Runtime, fp32 or quantised."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime

from bnn_tasks.bench.material import Net
from bnn_tasks.bench.peers.base import Contender, framed


class _Model:
    about: dict[str, str]

    def __init__(self, path: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._names = [value.name for value in self._session.get_inputs()]
        self.about = {}

    def feed(self, image: np.ndarray, given: Sequence[np.ndarray]) -> Any:
        return dict(zip(self._names, [np.ascontiguousarray(image.transpose(2, 0, 1)[None]), *given], strict=True))

    def infer(self, fed: Any) -> list[np.ndarray]:
        outputs: list[np.ndarray] = self._session.run(None, fed)
        return outputs


def open_onnxruntime(net: Net, threads: int, options: Mapping[str, Any]) -> Contender:
    """A model of the material.

    Args:
        net: its material is ready.
        threads: within an operation.
        options: `file`, the model's name.
    """
    return framed(net, _Model(str(net.path(options["file"])), threads))
