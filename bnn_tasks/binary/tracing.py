"""A float net as a torch.fx graph that holds in training and in evaluation alike."""

import copy
from itertools import zip_longest
from typing import Any

from torch import fx, nn

from bnn_tasks.binary.layers import BinaryConv2d, BinaryLinear


def _is_batchnorm_with_activation(module: nn.Module) -> bool:
    # timm's BatchNormAct2d, by name, since this package imports torch alone: a BatchNorm written out, then `drop` and `act`.
    return isinstance(module, nn.BatchNorm2d) and any(k.__name__ == "BatchNormAct2d" for k in type(module).__mro__)


class _Tracer(fx.Tracer):
    """Stops at binary layers and at modules of `leaves`."""

    def __init__(self, leaves: set[type[nn.Module]]) -> None:
        super().__init__()
        self.leaves = leaves

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        ours = isinstance(m, BinaryConv2d | BinaryLinear) or type(m) in self.leaves
        return ours or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not _is_batchnorm_with_activation(m):
            return super().call_module(m, forward, args, kwargs)
        normalised = self.create_proxy("call_module", self.path_of_module(m), args, kwargs)
        return m.get_submodule("act")(m.get_submodule("drop")(normalised))


def _batchnorm_alone(module: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """A plain BatchNorm with the tensors of `module`, and with its children, which the graph calls by their names."""
    plain = nn.BatchNorm2d(module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats)
    for name, parameter in module.named_parameters(recurse=False):
        plain.register_parameter(name, parameter)
    for name, buffer in module.named_buffers(recurse=False):
        plain.register_buffer(name, buffer)
    for name, child in module.named_children():
        plain.add_module(name, child)
    plain.training = module.training
    return plain


def _words(node: fx.Node | None) -> str:
    return "nothing" if node is None else f"{node.op} {node.target} {node.args} {node.kwargs}"


def _first_difference(one: fx.Graph, other: fx.Graph) -> fx.Node | None:
    for pair in zip_longest(one.nodes, other.nodes):
        if _words(pair[0]) != _words(pair[1]):
            return pair[0] or pair[1]
    return None


def _trace(module: nn.Module, leaves: set[type[nn.Module]]) -> fx.Graph:
    try:
        return _Tracer(leaves).trace(module)
    except Exception as error:
        raise ValueError(
            f"Expected a module that torch.fx can trace, but {type(module).__name__} is not: {error}. "
            "Cure: binarize its traceable parts, or build it from BinaryConv2d."
        ) from error


def _random_kinds(module: nn.Module) -> set[type[nn.Module]]:
    """The classes of submodules that do other things in training than in evaluation."""
    leaves: set[type[nn.Module]] = set()
    while True:
        training, evaluation = (_trace(copy.deepcopy(module).train(mode), leaves) for mode in (True, False))
        node = _first_difference(training, evaluation)
        if node is None:
            return leaves
        place = [*node.meta.get("nn_module_stack", {})][-1:]
        kind = type(module.get_submodule(place[0])) if place else None
        if kind is None or kind in leaves:
            raise ValueError(
                f"Expected a module that does the same in training and in evaluation, but {type(module).__name__} does not, "
                f"first at {' '.join([*map(repr, place), node.name])}. Cure: build it without what differs, as auxiliary heads."
            )
        leaves.add(kind)


def trace(module: nn.Module) -> fx.GraphModule:
    """Trace a module; what asks for ``training`` stays a module: BatchNorm, dropout, random depth, an attention with dropout.

    A graph would hold what they do in one mode for ever.

    Args:
        module: its submodules become the graph module's, and keep their modes.

    Raises:
        ValueError: torch.fx cannot trace it, or its own ``forward`` does other things in training than in evaluation.
    """
    leaves = _random_kinds(module)
    modes = {part: part.training for part in module.modules()}
    graph_module = fx.GraphModule(module, _trace(module.eval(), leaves))
    for part, mode in modes.items():
        part.training = mode
    graph_module.training = module.training
    for name, part in list(module.named_modules()):
        if _is_batchnorm_with_activation(part):
            assert isinstance(part, nn.BatchNorm2d)
            graph_module.set_submodule(name, _batchnorm_alone(part))
    return graph_module
