"""Which values of a traced net provably never are negative: the sign of such a one is +1 everywhere, and says nothing."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

# What a module does, as a function's name, and the attributes that are its arguments.
MODULES: dict[type[nn.Module], tuple[str, ...]] = {
    nn.ReLU: ("relu",),
    nn.ReLU6: ("relu6",),
    nn.Hardtanh: ("hardtanh", "min_val", "max_val"),
    nn.Threshold: ("threshold", "threshold", "value"),
    nn.Sigmoid: ("sigmoid",),
    nn.Hardsigmoid: ("hardsigmoid",),
    nn.Softmax: ("softmax",),
    nn.Softmax2d: ("softmax",),
    nn.Softplus: ("softplus",),
    nn.MaxPool2d: ("max_pool2d",),
    nn.AdaptiveMaxPool2d: ("adaptive_max_pool2d",),
    nn.Identity: ("clone",),
    nn.Dropout: ("dropout",),
    nn.Dropout2d: ("dropout2d",),
    nn.Flatten: ("flatten",),
    nn.Unflatten: ("unflatten",),
    nn.PixelShuffle: ("pixel_shuffle",),
    nn.ConstantPad2d: ("pad", "value"),  # ZeroPad2d is one
    nn.ReflectionPad2d: ("pad",),
    nn.ReplicationPad2d: ("pad",),
    nn.Upsample: ("interpolate", "mode"),
    nn.AvgPool2d: ("avg_pool2d",),
    nn.AdaptiveAvgPool2d: ("adaptive_avg_pool2d",),
}
RANDOM_DEPTH = frozenset(
    {"DropPath", "StochasticDepth"}
)  # timm's and torchvision's, by name: only torch is imported here
RELUS = frozenset({"relu", "relu6"})
# What else is never negative.
POSITIVE = frozenset(
    {"sigmoid", "hardsigmoid", "softmax", "softplus", "abs", "absolute", "exp", "square"}
    | {"sqrt", "rsqrt", "std", "var", "norm", "size", "numel"}
)
# Commute with a ReLU: the sign of pool(x) and that of pool(relu(x)) ask the same question of x.
MONOTONE = frozenset(
    {"max_pool2d", "adaptive_max_pool2d", "dropout", "dropout2d", "pixel_shuffle", "clone", "contiguous"}
    | {"flatten", "unflatten", "reshape", "view", "permute", "transpose", "squeeze", "unsqueeze", "expand", "repeat"}
    | {"cat", "concat", "stack", "chunk", "split", "getitem", "amax", "amin"}
)
# Do not, but of non-negative values they are non-negative.
AVERAGES = frozenset({"avg_pool2d", "adaptive_avg_pool2d", "mean", "sum"})


@dataclass(frozen=True)
class Call:
    """What a node of a traced net does: a function, a tensor's method or a module alike.

    Attributes:
        name: of the function, without the underscore of its in-place form; empty if it is none of torch's.
        args: by position, the input first.
        kwargs: by name.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def get(self, position: int, name: str, default: Any = None) -> Any:
        """An argument by position or by name."""
        return self.args[position] if position < len(self.args) else self.kwargs.get(name, default)

    @property
    def input(self) -> Any:
        """The first argument."""
        return self.get(0, "input")


def read_call(node: fx.Node, modules: nn.Module) -> Call:
    """What a node does.

    Args:
        node: of a traced net.
        modules: the net.
    """
    if node.op == "call_module":
        module = modules.get_submodule(str(node.target))
        for kind, (name, *options) in MODULES.items():
            if isinstance(module, kind):
                return Call(name, node.args, {option: getattr(module, option) for option in options})
        return Call("dropout" if type(module).__name__ in RANDOM_DEPTH else "", node.args, {})
    name = getattr(node.target, "__name__", str(node.target))
    known = node.op == "call_method" or any(getattr(place, name, None) is node.target for place in (torch, F, operator))
    return Call(name.strip("_") if known else "", node.args, dict(node.kwargs))


class OneSigned:
    """Tells which values of a traced net never are negative.

    Args:
        graph_module: the net.
    """

    def __init__(self, graph_module: fx.GraphModule) -> None:
        self.graph_module = graph_module

    def call(self, node: fx.Node) -> Call:
        """What `node` does."""
        return read_call(node, self.graph_module)

    def monotone(self, call: Call) -> bool:
        """Whether a call commutes with a ReLU."""
        if call.name == "pad":
            return self(call.get(3, "value") or 0)
        return call.name in MONOTONE or (call.name == "interpolate" and _mode(call).startswith("nearest"))

    def __call__(self, value: Any) -> bool:
        """Whether `value`, a node, a constant or a list of these, provably never is below zero."""
        if isinstance(value, int | float):
            return value >= 0
        if isinstance(value, list | tuple):
            return all(map(self, value))
        if not isinstance(value, fx.Node):
            return False
        if value.op == "get_attr":  # a constant, or a parameter, which may become anything
            constant = operator.attrgetter(str(value.target))(self.graph_module)
            return type(constant) is Tensor and bool((constant >= 0).all())
        call = self.call(value)
        if call.name in RELUS | POSITIVE:
            return True
        if call.name in AVERAGES or self.monotone(call):
            return self(call.input)
        rule = RULES.get(call.name)
        return rule is not None and rule(self, call)


def _mode(call: Call) -> str:
    return str(call.get(3, "mode", "nearest"))


def _between(positive: OneSigned, call: Call, least: Any, most: Any) -> bool:
    return (positive(least) or positive(call.input)) and (most is None or positive(most))


def _clamp(positive: OneSigned, call: Call) -> bool:
    return _between(positive, call, call.get(1, "min"), call.get(2, "max"))


def _hardtanh(positive: OneSigned, call: Call) -> bool:
    return _between(positive, call, call.get(1, "min_val", -1.0), call.get(2, "max_val", 1.0))


def _threshold(positive: OneSigned, call: Call) -> bool:
    """X where x > t, else v."""
    return _between(positive, call, call.get(1, "threshold"), call.get(2, "value"))


def _interpolate(positive: OneSigned, call: Call) -> bool:
    """Bicubic weights are not all positive, those of the other modes are."""
    return _mode(call) != "bicubic" and positive(call.input)


def _sum(positive: OneSigned, call: Call) -> bool:
    return positive([call.input, call.get(1, "other"), call.get(2, "alpha", 1)])


def _product(positive: OneSigned, call: Call) -> bool:
    """Of two that are not negative, or a square."""
    factors = [call.input, call.get(1, "other")]
    return factors[0] is factors[1] or positive(factors)


def _power(positive: OneSigned, call: Call) -> bool:
    exponent = call.get(1, "exponent")
    return (isinstance(exponent, int | float) and exponent % 2 == 0) or positive(call.input)


def _largest(positive: OneSigned, call: Call) -> bool:
    """Of two tensors one suffices; else it is the largest along a dimension."""
    return positive(call.input) or (isinstance(call.get(1, "other"), fx.Node) and positive(call.get(1, "other")))


def _smallest(positive: OneSigned, call: Call) -> bool:
    return positive(call.input) and (not isinstance(call.get(1, "other"), fx.Node) or positive(call.get(1, "other")))


def _chosen(positive: OneSigned, call: Call) -> bool:
    return positive([call.get(1, "input"), call.get(2, "other")])


RULES: dict[str, Callable[[OneSigned, Call], bool]] = {
    **dict.fromkeys(("clamp", "clip", "clamp_min"), _clamp),
    "hardtanh": _hardtanh,
    "threshold": _threshold,
    "interpolate": _interpolate,
    **dict.fromkeys(("add", "iadd"), _sum),
    **dict.fromkeys(("mul", "multiply", "imul", "div", "divide", "truediv", "itruediv"), _product),
    **dict.fromkeys(("pow", "ipow"), _power),
    **dict.fromkeys(("max", "maximum"), _largest),
    **dict.fromkeys(("min", "minimum"), _smallest),
    "where": _chosen,
}
