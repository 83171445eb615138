"""What follows a detector's raw maps, the same for every contender: the runtime's own anchors, regions and suppression."""

from collections.abc import Mapping, Sequence

import numpy as np

from bnn_tasks.bench.simplify import ENDING
from bnn_tasks.runtime.detection import Detections
from bnn_tasks.runtime.graph import Graph, Node
from bnn_tasks.runtime.ops import OPS
from bnn_tasks.runtime.ops.base import Context
from bnn_tasks.runtime.prepared import Prepared


class Ending:
    """From raw maps to detections, by the runtime's operations.

    What depends on no value, the anchors, is laid out once.

    Args:
        graph: of a detector.
        tensors: of the artifact.
        maps: the raw maps by name, [H, W, C], for their sizes.
        size: (height, width) of the input, pixels.
    """

    def __init__(
        self, graph: Graph, tensors: Mapping[str, np.ndarray], maps: Mapping[str, np.ndarray], size: tuple[int, int]
    ) -> None:
        assert graph.detections is not None
        self._results = [graph.detections[name] for name in ("boxes", "scores", "labels")]
        self._prepared, self._context = Prepared(dict(tensors)), Context(*size)
        ending = [node for node in graph.nodes if node.op in ENDING]
        self._nodes = [node for node in ending if not OPS[node.op].constant]
        self._constants = self._run([node for node in ending if OPS[node.op].constant], maps)

    def __call__(self, maps: Mapping[str, np.ndarray]) -> Detections:
        """Detections in pixels of the input.

        Args:
            maps: the raw maps by name, [H, W, C].
        """
        values = self._run(self._nodes, {**maps, **self._constants})
        return Detections(*(values[name] for name in self._results))

    def _run(self, nodes: Sequence[Node], maps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = dict(maps)
        for node in nodes:
            inputs = [values[name] for name in node.inputs]
            made = OPS[node.op].run(inputs, node.attrs, self._prepared.of(node), self._context)
            values.update(zip(node.outputs, made, strict=True))
        return values
