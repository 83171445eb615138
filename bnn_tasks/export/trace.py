"""Trace a module with torch.fx and write it down as runtime nodes; names the layer it cannot express."""

import operator
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from bnn_tasks.binary import BinaryConv2d, BinaryLinear
from bnn_tasks.export.builder import ExportError, GraphBuilder
from bnn_tasks.export.fold import FoldedSign, fold
from bnn_tasks.export.layers import MODULES, BinaryLayer, emit_binary, emit_folded, emit_sign

# Modules that keep an accumulator's order, so that a sign after them may be a threshold on the accumulator.
FOLDABLE = (nn.BatchNorm2d, nn.BatchNorm1d, nn.Hardtanh, nn.Identity, nn.Dropout)


def is_layer(module: nn.Module) -> bool:
    """Whether the runtime has an operation for a module as a whole."""
    return type(module) in MODULES or isinstance(module, BinaryConv2d | BinaryLinear)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        # torch's own layers are leaves too, so that one without an operation is refused by its name.
        return is_layer(m) or super().is_leaf_module(m, module_qualified_name)


@dataclass(frozen=True)
class SignSite:
    """Where the bits of one call of a binary layer come from.

    Attributes:
        layer: name of the layer in the module.
        call: how many calls of the same layer came before it.
        values: the runtime's bits, one a term.
        node: the runtime's node of the layer.
        folded: whether the bits come from a folded threshold.
    """

    layer: str
    call: int
    values: list[str]
    node: str
    folded: bool


def _relu(node: fx.Node) -> nn.Module:
    return nn.ReLU()


def _relu6(node: fx.Node) -> nn.Module:
    return nn.ReLU6()


def _hardtanh(node: fx.Node) -> nn.Module:
    return nn.Hardtanh(*node.args[1:3], **{k: v for k, v in node.kwargs.items() if k in ("min_val", "max_val")})  # type: ignore[arg-type]


def _sigmoid(node: fx.Node) -> nn.Module:
    return nn.Sigmoid()


def _like(module: type[nn.Module]) -> Callable[[fx.Node], nn.Module]:
    """A function whose arguments after the input are the module's own."""
    return lambda node: module(*node.args[1:], **{k: v for k, v in node.kwargs.items() if k != "input"})


def _dropout(node: fx.Node) -> nn.Module:
    if node.kwargs.get("training", True):
        raise ExportError(
            f"Expected dropout to be off in eval mode, but {node.name!r} is always on. Cure: pass training=self.training."
        )
    return nn.Identity()


# Functions and methods of one tensor, as the module that does the same.
AS_MODULE: dict[Any, Callable[[fx.Node], nn.Module]] = {
    F.relu: _relu,
    torch.relu: _relu,
    torch.relu_: _relu,
    "relu": _relu,
    "relu_": _relu,
    F.relu6: _relu6,
    F.hardtanh: _hardtanh,
    torch.sigmoid: _sigmoid,
    F.sigmoid: _sigmoid,
    "sigmoid": _sigmoid,
    torch.flatten: _like(nn.Flatten),
    "flatten": _like(nn.Flatten),
    F.adaptive_avg_pool2d: _like(nn.AdaptiveAvgPool2d),
    F.max_pool2d: _like(nn.MaxPool2d),
    F.avg_pool2d: _like(nn.AvgPool2d),
    F.dropout: _dropout,
}
ADDITIONS = {operator.add, operator.iadd, torch.add, "add", "add_"}


def _foldable(layer: nn.Module) -> bool:
    without_statistics = isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d) and layer.running_mean is None
    return isinstance(layer, FOLDABLE) and not without_statistics


class GraphWriter:
    """Walks a traced module and writes its nodes.

    Args:
        module: in eval mode, taking one tensor.

    Attributes:
        builder: the nodes written.
        outputs: the structure that ``forward`` returns, with names of values.
        sites: every call of a binary layer, in execution order.

    Raises:
        ExportError: the module cannot be traced, or a layer has no operation in the runtime.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.builder = GraphBuilder()
        self.sites: list[SignSite] = []
        self.outputs: Any = None
        try:
            self._graph = _Tracer().trace(module)
        except Exception as error:
            raise ExportError(
                f"Expected a module that torch.fx can trace, but {type(module).__name__} is not: {error}. "
                "Cure: keep control flow that depends on values out of forward."
            ) from error
        self._values: dict[fx.Node, str] = {}
        self._signs: dict[tuple[str, int, int], str] = {}
        self._calls: Counter[str] = Counter()
        self._folds = self._find_folds()
        self._inside = {inner for chain in self._folds.values() for inner in chain}
        self._folded_bits: dict[fx.Node, str] = {}
        for node in self._graph.nodes:
            getattr(self, f"_{node.op}")(node)

    def _layer(self, node: fx.Node) -> nn.Module:
        return self.module.get_submodule(str(node.target))

    def _binary(self, node: object) -> BinaryLayer | None:
        if isinstance(node, fx.Node) and node.op == "call_module":
            layer = self._layer(node)
            if isinstance(layer, BinaryConv2d | BinaryLinear):
                return layer
        return None

    def _find_folds(self) -> dict[fx.Node, list[fx.Node]]:
        """Consumer -> [producer, chain...] where a binary layer's output runs only into the consumer's sign."""
        folds = {}
        for consumer in self._graph.nodes:
            if self._binary(consumer) is None:
                continue
            chain: list[fx.Node] = []
            node = consumer.args[0]
            while node.op == "call_module" and len(node.users) == 1 and _foldable(self._layer(node)):
                chain.insert(0, node)
                node = node.args[0]
            if (
                self._binary(node) is not None
                and len(node.users) == 1
                and self._fold(node, chain, consumer) is not None
            ):
                folds[consumer] = [node, *chain]
        return folds

    def _fold(self, producer: fx.Node, chain: list[fx.Node], consumer: fx.Node) -> FoldedSign | None:
        first, second = self._binary(producer), self._binary(consumer)
        assert first is not None
        assert second is not None
        terms, wanted = first.terms(), second.terms()
        if len(terms.terms) != 1 or len(wanted.terms) != 1:
            return None
        modules = [self._layer(node) for node in chain]
        return fold(terms.terms[0], terms.bias, modules, wanted.terms[0].activation.threshold)

    def _placeholder(self, node: fx.Node) -> None:
        if self._values:
            raise ExportError("Expected a module that takes one tensor, but its forward has several arguments.")
        self._values[node] = "images"

    def _get_attr(self, node: fx.Node) -> None:
        raise ExportError(
            f"Expected only layers to own tensors, but forward reads {node.target!r}. Cure: put it into a supported layer."
        )

    def _output(self, node: fx.Node) -> None:
        self.outputs = fx.node.map_arg(node.args[0], lambda n: self._values[n])

    def _bits(self, node: fx.Node, layer: BinaryLayer) -> list[str]:
        if node in self._folds:
            return [self._folded_bits[node]]
        x = self._values[node.args[0]]  # type: ignore[index]
        bits = []
        for term in layer.terms().terms:
            key = (x, id(layer.activation_binarizer), term.groups)
            if key not in self._signs:
                self._signs[key] = emit_sign(self.builder, str(node.target), x, term.activation.threshold, term.groups)
            bits.append(self._signs[key])
        return bits

    def _call_binary(self, node: fx.Node, layer: BinaryLayer) -> None:
        name = str(node.target)
        bits = self._bits(node, layer)
        consumer = next((c for c, chain in self._folds.items() if chain[0] is node), None)
        if consumer is None:
            value = emit_binary(self.builder, name, layer, bits)
            self._values[node] = value
        else:
            folded = self._fold(node, self._folds[consumer][1:], consumer)
            reader = self._binary(consumer)
            assert folded is not None
            groups = reader.groups if isinstance(reader, BinaryConv2d) else 1
            value = emit_folded(self.builder, name, layer, bits[0], folded, groups)
            self._folded_bits[consumer] = value
        self.sites.append(SignSite(name, self._calls[name], bits, value, node in self._folds))
        self._calls[name] += 1

    def _call_module(self, node: fx.Node) -> None:
        layer = self._layer(node)
        if isinstance(layer, BinaryConv2d | BinaryLinear):
            self._call_binary(node, layer)
        elif node not in self._inside:
            self._emit(node, str(node.target), layer)

    def _emit(self, node: fx.Node, name: str, layer: nn.Module) -> None:
        if type(layer) not in MODULES:
            raise ExportError(
                f"Expected layers that the runtime knows, but {name!r} is a {type(layer).__name__}. "
                f"Supported: BinaryConv2d, BinaryLinear, {', '.join(sorted(m.__name__ for m in MODULES))}."
            )
        inputs = [self._values[argument] for argument in node.all_input_nodes]
        self._values[node] = MODULES[type(layer)](self.builder, name, layer, inputs)

    def _call_function(self, node: fx.Node) -> None:
        nodes = [argument for argument in node.args if isinstance(argument, fx.Node)]
        if node.target in ADDITIONS and len(nodes) == len(node.args) == 2 and not node.kwargs:
            pair = [self._values[argument] for argument in nodes]
            self._values[node] = self.builder.add("add", node.name, pair)
        elif node.target is torch.cat and node.args and node.kwargs.get("dim", (*node.args, 0)[1]) == 1:
            parts = [self._values[part] for part in node.args[0]]  # type: ignore[union-attr, index]
            self._values[node] = parts[0] if len(parts) == 1 else self.builder.add("concat", node.name, parts)
        elif node.target in AS_MODULE:
            self._emit(node, node.name, AS_MODULE[node.target](node))
        else:
            raise ExportError(
                f"Expected operations that the runtime knows, but {node.name!r} calls {node.target}. "
                "Cure: use a supported layer, or move it out of the exported module."
            )

    _call_method = _call_function
