"""The graph of an artifact."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Node:
    """One op at work.

    Attributes:
        name: unique in the graph; the module's qualified name, by custom.
        op: a key of `ops.OPS`.
        inputs: values it reads.
        outputs: values it makes; each value is made once.
        attrs: settings, as JSON holds them.
        tensors: role -> tensor name in the file; nodes may share tensors.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """A network for one image.

    Attributes:
        nodes: in an order in which they can run.
        outputs: value names in nested dicts and lists: what the module's forward returns.
        channels: of the input, float32; RGB in [0, 1] for models.
        input_name: name of the input value.
        detections: the values of `boxes`, `scores` and `labels`, all of one nms node; None for no detector.
        classes: names; empty where there are none.
        resize: {"sizes": [[H, W], ...], "rule": str}, how images come to the input; None: any size, tensors only.
        probabilities: the value of a classifier's probabilities, made by a softmax node; None for no classifier.
        class_map: the value of a segmenter's class map, made by an argmax node; None for no segmenter.
    """

    nodes: tuple[Node, ...]
    outputs: Any
    channels: int = 3
    input_name: str = "images"
    detections: Mapping[str, str] | None = None
    classes: tuple[str, ...] = ()
    resize: Mapping[str, Any] | None = None
    probabilities: str | None = None
    class_map: str | None = None

    @property
    def results(self) -> tuple[str, ...]:
        """The values that an image's result is made of: boxes, scores, labels; probabilities; a class map; or none."""
        if self.detections is not None:
            return tuple(self.detections[key] for key in ("boxes", "scores", "labels"))
        return tuple(value for value in (self.probabilities, self.class_map) if value is not None)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        nodes = [
            {
                "name": n.name,
                "op": n.op,
                "inputs": list(n.inputs),
                "outputs": list(n.outputs),
                "attrs": dict(n.attrs),
                "tensors": dict(n.tensors),
            }
            for n in self.nodes
        ]
        graph = {
            "input": {"name": self.input_name, "channels": self.channels},
            "nodes": nodes,
            "outputs": self.outputs,
            "detections": None if self.detections is None else dict(self.detections),
            "classes": list(self.classes),
            "resize": None if self.resize is None else dict(self.resize),
        }
        # A reader that knows no classifiers, or no segmenters, knows no such key: it goes on reading everything else.
        optional = {"probabilities": self.probabilities, "class_map": self.class_map}
        return graph | {key: value for key, value in optional.items() if value is not None}


def leaves(outputs: Any) -> Iterator[str]:
    """Value names in nested dicts and lists, in order."""
    if isinstance(outputs, str):
        yield outputs
    else:
        for item in outputs.values() if isinstance(outputs, dict) else outputs:
            yield from leaves(item)
