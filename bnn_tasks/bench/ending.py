"""What follows a detector's raw maps, the same for every contender: the runtime's own anchors, box decoding and suppression."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bnn_tasks.runtime import detection
from bnn_tasks.runtime.detection import Detections
from bnn_tasks.runtime.graph import Graph


class Ending:
    """From raw maps to detections.

    The anchors are laid out once.

    Args:
        graph: of a detector.
        tensors: of the artifact.
        maps: the raw maps by name, [H, W, C], for their sizes.
        size: (height, width) of the input, pixels.
    """

    def __init__(
        self, graph: Graph, tensors: Mapping[str, np.ndarray], maps: Mapping[str, np.ndarray], size: tuple[int, int]
    ) -> None:
        nodes = {node.op: node for node in graph.nodes if node.op in ("anchors", "decode_boxes", "nms")}
        self._decode, self._nms, self._size = nodes["decode_boxes"], nodes["nms"], size
        anchors = nodes["anchors"]
        sizes = [(maps[name].shape[0], maps[name].shape[1]) for name in anchors.inputs]
        self._anchors = detection.anchors(sizes, anchors.attrs["strides"], tensors[anchors.tensors["base"]])

    def __call__(self, maps: Mapping[str, np.ndarray]) -> Detections:
        """Detections in pixels of the input.

        Args:
            maps: the raw maps by name, [H, W, C].
        """
        attrs = self._decode.attrs
        boxes = detection.decode_boxes(
            self._anchors, _of(maps, self._decode.inputs[1:]), attrs["weights"], attrs["clip"]
        )
        settings: dict[str, Any] = dict(self._nms.attrs)
        return detection.nms(boxes, _of(maps, self._nms.inputs[1:]), canvas=self._size, **settings)


def _of(maps: Mapping[str, np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
    return [maps[name] for name in names]
