"""Trace one stage of a module with torch.fx and write it down as runtime nodes; names the layer it cannot express."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from bnn_tasks.binary import BinaryConv2d, BinaryLinear, Terms, Threshold
from bnn_tasks.export.binary_layers import BinaryLayer, BinaryWriter, Plane
from bnn_tasks.export.builder import ExportError, GraphBuilder
from bnn_tasks.export.fold import FoldedSign, fold
from bnn_tasks.export.functions import AS_MODULE, OF_TWO, concatenated
from bnn_tasks.export.layers import MODULES

# Modules that keep an accumulator's order, so that a sign after them may be a threshold on the accumulator.
FOLDABLE = (nn.BatchNorm2d, nn.BatchNorm1d, nn.Hardtanh, nn.Identity, nn.Dropout)


def is_layer(module: nn.Module) -> bool:
    """Whether the runtime has an operation for a module as a whole."""
    return type(module) in MODULES or isinstance(module, BinaryConv2d | BinaryLinear)


class _Tracer(fx.Tracer):
    def __init__(self, function: str) -> None:
        super().__init__()
        self.traced_func_name = function

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        # torch's own layers are leaves too, and so is what is derived from a supported one: refused by its name and type.
        known = is_layer(m) or isinstance(m, tuple(MODULES))
        return known or super().is_leaf_module(m, module_qualified_name)


@dataclass(frozen=True)
class SignSite:
    """Where the planes and sums of one call of a binary layer are.

    Attributes:
        layer: name of the layer in the module.
        call: how many calls of the same layer came before it.
        planes: the runtime's value of every operand, in the order of ``Terms.operands``.
        nodes: the runtime's node of every term.
        folded: whether the bits come from a folded threshold.
    """

    layer: str
    call: int
    planes: list[str]
    nodes: list[str]
    folded: bool


def _foldable(layer: nn.Module) -> bool:
    without_statistics = isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d) and layer.running_mean is None
    return isinstance(layer, FOLDABLE) and type(layer) in MODULES and not without_statistics


def _input(node: fx.Node) -> Any:
    """What a layer of one input is called with, by position or by name."""
    given = (*node.args, *node.kwargs.values())
    if len(given) != 1:
        raise ExportError(f"Expected {node.target!r} to be called with one tensor, but got {len(given)} arguments.")
    return given[0]


def _only_threshold(terms: Terms) -> Threshold | None:
    """The sign that is all a layer reads of its input, if so it is."""
    operands = terms.operands()
    only = operands[0] if len(operands) == 1 and not any(term.window_mean for term in terms.terms) else None
    return only if isinstance(only, Threshold) else None


def _gives_sums(terms: Terms) -> bool:
    """Whether a layer's output is a function of one accumulator and the channel."""
    scale = terms.terms[0].scale
    return len(terms.terms) == 1 and _only_threshold(terms) is not None and (scale is None or scale.dim() == 1)


class StageWriter:
    """Walks a traced module and writes its nodes.

    Args:
        module: in eval mode; its `function` takes one tensor.
        builder: takes the nodes.
        function: the method that is traced.
        source: name of the value that it reads.
        prefix: of the names of layers and nodes: the module's own name, with a dot.

    Attributes:
        source: as given.
        outputs: the structure that `function` returns, with names of values.
        sites: every call of a binary layer, in execution order.

    Raises:
        ExportError: the module cannot be traced, or a layer has no operation in the runtime.
    """

    def __init__(
        self,
        module: nn.Module,
        builder: GraphBuilder,
        function: str = "forward",
        source: str = "images",
        prefix: str = "",
    ) -> None:
        self.module, self.builder = module, builder
        self.sites: list[SignSite] = []
        self.outputs: Any = None
        self.source, self._prefix = source, prefix
        try:
            self._graph = _Tracer(function).trace(module)
        except Exception as error:
            raise ExportError(
                f"Expected a module that torch.fx can trace, but {type(module).__name__} is not: {error}. "
                f"Cure: keep control flow that depends on values out of {function}."
            ) from error
        self._values: dict[fx.Node, str] = {}
        self._binary_writer = BinaryWriter(self.builder)
        self._known_terms: dict[str, Terms] = {}
        self._calls: Counter[str] = Counter()
        self._folds = self._find_folds()
        self._inside = {inner for chain in self._folds.values() for inner in chain}
        self._folded_bits: dict[fx.Node, Plane] = {}
        for node in self._graph.nodes:
            getattr(self, f"_{node.op}")(node)

    def _name(self, node: fx.Node) -> str:
        return f"{self._prefix}{node.target}"

    def _layer(self, node: fx.Node) -> nn.Module:
        return self.module.get_submodule(str(node.target))

    def _binary(self, node: object) -> BinaryLayer | None:
        if isinstance(node, fx.Node) and node.op == "call_module":
            layer = self._layer(node)
            if isinstance(layer, BinaryConv2d | BinaryLinear):
                return layer
        return None

    def _terms(self, node: fx.Node) -> Terms:
        name, layer = self._name(node), self._binary(node)
        assert layer is not None
        if name not in self._known_terms:
            try:
                self._known_terms[name] = layer.terms()
            except ValueError as error:
                raise ExportError(f"layer {name!r}: {error}") from error
        return self._known_terms[name]

    def _find_folds(self) -> dict[fx.Node, list[fx.Node]]:
        """Consumer -> [producer, chain...] where a binary layer's output runs only into the consumer's sign."""
        folds = {}
        for consumer in self._graph.nodes:
            if self._binary(consumer) is None:
                continue
            chain: list[fx.Node] = []
            node = _input(consumer)
            while node.op == "call_module" and len(node.users) == 1 and _foldable(self._layer(node)):
                chain.insert(0, node)
                node = _input(node)
            if (
                self._binary(node) is not None
                and len(node.users) == 1
                and self._fold(node, chain, consumer) is not None
            ):
                folds[consumer] = [node, *chain]
        return folds

    def _fold(self, producer: fx.Node, chain: list[fx.Node], consumer: fx.Node) -> FoldedSign | None:
        terms, reader = self._terms(producer), _only_threshold(self._terms(consumer))
        if reader is None or not _gives_sums(terms):
            return None
        return fold(terms.terms[0], terms.bias, [self._layer(node) for node in chain], reader.threshold)

    def _placeholder(self, node: fx.Node) -> None:
        if self._values:
            raise ExportError("Expected a module that takes one tensor, but its forward has several arguments.")
        self._values[node] = self.source

    def _get_attr(self, node: fx.Node) -> None:
        raise ExportError(
            f"Expected only layers to own tensors, but forward reads {node.target!r}. Cure: put it into a supported layer."
        )

    def _output(self, node: fx.Node) -> None:
        self.outputs = fx.node.map_arg(node.args[0], lambda n: self._values[n])

    def _call_binary(self, node: fx.Node, layer: BinaryLayer) -> None:
        name, terms = self._name(node), self._terms(node)
        if node in self._folds:
            x, planes = "", [self._folded_bits[node]]
        else:
            x = self._values[_input(node)]
            planes = self._binary_writer.planes(name, terms, x)
        consumer = next((c for c, chain in self._folds.items() if chain[0] is node), None)
        if consumer is None:
            self._values[node], nodes = self._binary_writer.layer(name, layer, terms, planes, x)
        else:
            folded = self._fold(node, self._folds[consumer][1:], consumer)
            assert folded is not None
            groups = self._terms(consumer).geometry.groups
            value, nodes = self._binary_writer.folded(name, layer, terms, planes[0], folded, groups)
            self._folded_bits[consumer] = Plane(value)
        site = SignSite(name, self._calls[name], [plane.value for plane in planes], nodes, node in self._folds)
        self.sites.append(site)
        self._calls[name] += 1

    def _call_module(self, node: fx.Node) -> None:
        layer = self._layer(node)
        if isinstance(layer, BinaryConv2d | BinaryLinear):
            self._call_binary(node, layer)
        elif node not in self._inside:
            self._emit(node, self._name(node), layer)

    def _emit(self, node: fx.Node, name: str, layer: nn.Module) -> None:
        if type(layer) not in MODULES:
            raise ExportError(
                f"Expected layers that the runtime knows, but {name!r} is a {type(layer).__name__}. "
                f"Supported: BinaryConv2d, BinaryLinear, {', '.join(sorted(m.__name__ for m in MODULES))}."
            )
        inputs: list[str] = []  # not node.all_input_nodes: it has a map that is given twice once
        fx.node.map_arg((node.args, node.kwargs), lambda argument: inputs.append(self._values[argument]))
        self._values[node] = MODULES[type(layer)](self.builder, name, layer, inputs)

    def _call_function(self, node: fx.Node) -> None:
        nodes = [argument for argument in node.args if isinstance(argument, fx.Node)]
        of_two = next((op for op, targets in OF_TWO.items() if node.target in targets), None)
        if of_two is not None and len(nodes) == len(node.args) == 2 and not node.kwargs:
            self._values[node] = self.builder.add(
                of_two, f"{self._prefix}{node.name}", [self._values[argument] for argument in nodes]
            )
        elif joined := concatenated(node):
            parts = [self._values[part] for part in joined]
            self._values[node] = (
                parts[0] if len(parts) == 1 else self.builder.add("concat", f"{self._prefix}{node.name}", parts)
            )
        elif node.target in AS_MODULE:
            self._emit(node, f"{self._prefix}{node.name}", AS_MODULE[node.target](node))
        else:
            raise ExportError(
                f"Expected operations that the runtime knows, but {node.name!r} calls {node.target}. "
                "Cure: use a supported layer, or move it out of the exported module."
            )

    _call_method = _call_function
