"""binarize(): turn the convolutions and linear layers of any traceable module into binary ones."""

import copy
import fnmatch
import operator
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import fx, nn

from bnn_tasks.binary.layers import BinaryConv2d, BinaryLinear
from bnn_tasks.binary.methods import Method, get_method
from bnn_tasks.binary.one_signed import RELUS, OneSigned
from bnn_tasks.binary.tracing import trace


def _before_relus(node: fx.Node, signs: OneSigned) -> fx.Node:
    """`node` with the ReLUs on the way to it skipped; the ReLUs stay for their other readers."""
    call, graph = signs.call(node), node.graph
    if call.name in RELUS:
        return _before_relus(call.input, signs)
    if not signs.monotone(call):
        return node
    signed = {source: _before_relus(source, signs) for source in node.all_input_nodes}
    if all(old is new for old, new in signed.items()):
        return node
    with graph.inserting_after(node):
        return graph.node_copy(node, signed.__getitem__)


def _undo_inplace(graph_module: fx.GraphModule) -> None:
    """A ReLU that writes over its input would change what the binary layers now read there."""
    for module in graph_module.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # type: ignore[assignment]
    for node in graph_module.graph.nodes:
        if node.op == "call_function" and node.kwargs.get("inplace"):
            node.update_kwarg("inplace", False)
        if node.target in (torch.relu_, "relu_"):
            node.target = torch.relu if node.op == "call_function" else "relu"
        if node.target in (operator.iadd, operator.imul):
            node.target = operator.add if node.target is operator.iadd else operator.mul


def _convert(layer: nn.Conv2d | nn.Linear, method: Method) -> nn.Module:
    bias = layer.bias is not None
    binary: BinaryConv2d | BinaryLinear
    if isinstance(layer, nn.Linear):
        binary = BinaryLinear(layer.in_features, layer.out_features, bias, method)
    else:
        if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
            raise ValueError(
                f"Expected padding with zeros by a number of pixels, but got padding={layer.padding!r}, "
                f"padding_mode={layer.padding_mode!r}. Cure: keep the layer real."
            )
        binary = BinaryConv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            layer.dilation,  # type: ignore[arg-type]
            layer.groups,
            bias,
            method=method,
        )
    binary.load_float(layer.weight, layer.bias)
    return binary.to(layer.weight.device).train(layer.training)


def _check_calls(graph_module: fx.GraphModule, targets: Mapping[str, nn.Module]) -> None:
    """Raise ValueError unless every layer is a plain one that the graph calls, and does not read the weight of."""
    nodes = graph_module.graph.nodes
    called = {str(node.target) for node in nodes if node.op == "call_module"}
    read = {str(node.target).rpartition(".")[0] for node in nodes if node.op == "get_attr"}
    for name, layer in targets.items():
        fault = None
        if type(layer) not in (nn.Conv2d, nn.Linear):
            fault = f"is a {type(layer).__name__}, which computes something else"
        elif name in read:
            fault = "has its weight read by another function"
        elif name not in called:
            fault = "is called by none, or inside a layer that torch.fx does not look into"
        if fault:
            raise ValueError(
                f"Expected the layers to binarise to be calls of Conv2d and Linear, but {name!r} {fault}. Cure: add {name!r} "
                "to `keep`: it stays real."
            )


def _keeps(
    keep: Sequence[str] | Callable[[str, nn.Module], bool], names: list[str]
) -> Callable[[str, nn.Module], bool]:
    if callable(keep):
        return keep
    if isinstance(keep, str):
        raise TypeError(f"Expected `keep` to be a list of names or patterns, but got the string {keep!r}.")
    for pattern in keep:
        if not fnmatch.filter(names, pattern):
            raise ValueError(
                f"Expected every pattern in `keep` to match a convolution or linear layer, but {pattern!r} matches none "
                f"of {names}."
            )
    return lambda name, module: any(fnmatch.fnmatch(name, pattern) for pattern in keep)


def binarize(
    module: nn.Module, method: str | Method, *, keep: Sequence[str] | Callable[[str, nn.Module], bool]
) -> nn.Module:
    """A binary copy of a module: its Conv2d and Linear layers become `BinaryConv2d` and `BinaryLinear`.

    A sign after a ReLU would be +1 everywhere, so a ReLU on the way into a binary layer is skipped for that layer: its sign
    sees the BatchNorm's (or the residual sum's) output, as XNOR-Net's block order wants; other readers of the ReLU keep
    it. The float weights become the latent weights.

    Methods that binarise weights alone (BinaryConnect, BWN) have real activations: their layers read the ReLU as it is, and an
    input of one sign is as good as any. DoReFa-Net's activations are round(clip(x, 0, 1)): its layers skip the ReLU too, which
    changes nothing, since clip(relu(x), 0, 1) = clip(x, 0, 1), and leaves the BatchNorm next to the threshold; but 0.5 divides
    an input that is never negative (an average of ReLUs, a sigmoid), so that is no error. Every other method starts with a
    threshold at zero, or around it, and refuses one.

    Args:
        module: any module that torch.fx can trace, for instance a timm or torchvision net. It is not changed.
        method: a registered method's name or a `Method`.
        keep: layers that stay real: names or shell patterns (``["conv1", "fc", "*downsample*"]``), or a function of
            (name, layer).

    Returns:
        A torch.fx.GraphModule with the original's parameter names.

    Raises:
        TypeError: `keep` is a string.
        ValueError: a pattern matches nothing, nothing is left to binarise, a layer's input provably has one sign only (and
            the method cannot use that), a layer cannot be expressed in binary (a subclass, one whose weight something else
            reads), or the module cannot be traced, or computes other things in training than in evaluation.
    """
    chosen = get_method(method)
    copied = copy.deepcopy(module)
    graph_module = trace(copied)
    layers = {name: m for name, m in copied.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    keeps = _keeps(keep, list(layers))
    targets = [name for name, layer in layers.items() if not keeps(name, layer)]
    if not targets:
        raise ValueError("Expected at least one convolution or linear layer to binarise, but `keep` holds them all.")
    _check_calls(graph_module, {name: layers[name] for name in targets})
    _undo_inplace(graph_module)
    signs = OneSigned(graph_module)
    for node in list(graph_module.graph.nodes):
        if node.op == "call_module" and node.target in targets:
            source = _before_relus(node.args[0], signs) if chosen.binary_activations else node.args[0]
            if not chosen.tells_positives_apart and signs(source):
                raise ValueError(
                    f"Expected the input of {node.target!r} to have both signs, but {source.name!r} "
                    f"({signs.call(source).name}) is never negative: every activation would be +1. Cure: add {node.target!r} "
                    "to `keep`, or put a BatchNorm before it."
                )
            node.args = (source, *node.args[1:])
    for name in targets:
        try:
            graph_module.set_submodule(name, _convert(layers[name], chosen))
        except ValueError as error:
            raise ValueError(f"{name}: {error} To keep it real, add {name!r} to `keep`.") from error
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()
    return graph_module
