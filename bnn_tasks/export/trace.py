"""A whole module as the runtime's graph: what is traced, the nodes that follow, and stages traced behind them."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from bnn_tasks.export.builder import GraphBuilder, to_numpy
from bnn_tasks.export.stage import SignSite, StageWriter
from bnn_tasks.models import DecodeNode, Detector, FasterRCNN, ImageClassifier, Segmenter, StageNode
from bnn_tasks.runtime.graph import Node


class GraphWriter:
    """Writes the nodes of a module.

    Args:
        module: in eval mode, taking one tensor.

    Attributes:
        builder: the nodes written.
        outputs: the structure that ``forward`` returns, with names of values.
        sites: every call of a binary layer, in execution order.
        names: a model's own name of a value (``proposals``, say) -> the graph's.
        detections: of a detector, the graph's names of ``boxes``, ``scores`` and ``labels``; else None.
        probabilities: of a classifier, the graph's name of them; else None.
        class_map: of a segmenter, the graph's name of its classes; else None.

    Raises:
        ExportError: the module cannot be traced, or a layer has no operation in the runtime.
    """

    def __init__(self, module: nn.Module) -> None:
        self.builder = GraphBuilder()
        first = StageWriter(module, self.builder, "dense" if isinstance(module, Detector) else "forward")
        self.outputs: Any = first.outputs
        self.sites: list[SignSite] = first.sites
        self.names: dict[str, str] = {}
        self.detections: dict[str, str] | None = None
        self.probabilities: str | None = None
        self.class_map: str | None = None
        if isinstance(module, Detector):
            self.names = {f"{key}.{i}": value for key, values in self.outputs.items() for i, value in enumerate(values)}
            self._append(module, module.export_graph(), "detector")
            self.detections = {key: self.names[key] for key in ("boxes", "scores", "labels")}
        if isinstance(module, FasterRCNN):
            self.outputs = self.outputs | {"proposals": [self.names["proposals"]]}
        if isinstance(module, ImageClassifier):
            self.names = {"logits": self.outputs}
            self._append(module, module.export_graph(), "classifier")
            self.probabilities = self.names["probabilities"]
        if isinstance(module, Segmenter):
            self.names = {"logits": self.outputs, "images": first.source}
            self._append(module, module.export_graph(), "segmenter")
            self.class_map = self.names["classes"]

    def _append(self, module: nn.Module, nodes: Sequence[DecodeNode | StageNode], prefix: str) -> None:
        """Add what follows a model's traced part; `prefix` is that of nodes and values which no layer makes."""
        for node in nodes:
            if isinstance(node, StageNode):
                self._append_stage(module, node)
                continue
            outputs = tuple(f"{prefix}.{name}" for name in node.outputs)
            tensors = {
                role: self.builder.tensor(f"{prefix}.{node.op}.{role}", to_numpy(value))
                for role, value in node.tensors.items()
            }
            inputs = tuple(self.names[name] for name in node.inputs)
            self.builder.nodes.append(Node(outputs[0], node.op, inputs, outputs, dict(node.attrs), tensors))
            self.names.update(zip(node.outputs, outputs, strict=True))

    def _append_stage(self, module: nn.Module, node: StageNode) -> None:
        stage = StageWriter(
            module.get_submodule(node.module),
            self.builder,
            source=self.names[node.input],
            prefix=f"{node.module}.",
        )
        self.sites += stage.sites
        made = [value for values in stage.outputs.values() for value in values]
        self.names.update(zip(node.outputs, made, strict=True))
