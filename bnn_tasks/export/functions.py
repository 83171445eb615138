"""Functions and methods that forward may call, each as the module that does the same."""

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from bnn_tasks.export.builder import ExportError


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


def _flatten(node: fx.Node) -> nn.Module:
    """Unlike the module, function and method begin with the batch unless told."""
    given: dict[str, Any] = dict(zip(("start_dim", "end_dim"), node.args[1:], strict=False)) | dict(node.kwargs)
    return nn.Flatten(given.get("start_dim", 0), given.get("end_dim", -1))


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
    torch.flatten: _flatten,
    "flatten": _flatten,
    F.adaptive_avg_pool2d: _like(nn.AdaptiveAvgPool2d),
    F.max_pool2d: _like(nn.MaxPool2d),
    F.avg_pool2d: _like(nn.AvgPool2d),
    F.dropout: _dropout,
}
# Functions and methods of two maps, by the runtime's operation.
OF_TWO = {
    "add": {operator.add, operator.iadd, torch.add, "add", "add_"},
    "multiply": {operator.mul, operator.imul, torch.mul, "mul", "mul_"},
}


def concatenated(node: fx.Node) -> list[fx.Node]:
    """What a call joins along channels; nothing for any other call."""
    given: dict[str, Any] = dict(zip(("tensors", "dim"), node.args, strict=False)) | dict(node.kwargs)
    if node.target not in {torch.cat, torch.concat, torch.concatenate} or given.get("dim") not in (1, -3):
        return []
    return list(given["tensors"])
