"""The float net of an artifact's shapes as a torch module."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn_tasks.bench.simplify import FloatNet, FloatOp

Run = Callable[[list[Tensor], Mapping[str, Any], Mapping[str, Tensor]], Tensor]


def _channels(x: Tensor, value: Tensor) -> Tensor:
    """`value`, one a channel, in a shape that multiplies `x`, (N, C, H, W) or (N, C)."""
    return value.view(1, -1, *[1] * (x.dim() - 2))


def _conv2d(x: list[Tensor], attrs: Mapping[str, Any], own: Mapping[str, Tensor]) -> Tensor:
    geometry = (attrs["stride"], attrs["padding"], attrs["dilation"], attrs["groups"])
    return F.conv2d(x[0], own["weight"], own.get("bias"), *geometry)


def _prelu(x: list[Tensor], attrs: Mapping[str, Any], own: Mapping[str, Tensor]) -> Tensor:
    u = x[0] - _channels(x[0], own["shift_in"]) if "shift_in" in own else x[0]
    if "slope_above" in own:
        above, below = _channels(u, own["slope_above"]), _channels(u, own["slope"])
        y = above * F.relu(u) - below * F.relu(-u)
    else:
        y = F.prelu(u, own["slope"])
    return y + _channels(y, own["shift_out"]) if "shift_out" in own else y


def _multiply(x: list[Tensor], attrs: Mapping[str, Any], own: Mapping[str, Tensor]) -> Tensor:
    repeat = x[0].shape[1] // x[1].shape[1]
    return x[0] * (x[1] if repeat == 1 or x[1].shape[1] == 1 else x[1].repeat_interleave(repeat, dim=1))


def _weighted_sum(x: list[Tensor], attrs: Mapping[str, Any], own: Mapping[str, Tensor]) -> Tensor:
    y = x[0] * own["weight"][0]
    for other, weight in zip(x[1:], own["weight"][1:], strict=True):
        y = y + other * weight
    return y


def _max_pool2d(x: list[Tensor], attrs: Mapping[str, Any], own: Mapping[str, Tensor]) -> Tensor:
    kernel, stride, padding, dilation = (attrs[name] for name in ("kernel", "stride", "padding", "dilation"))
    return F.max_pool2d(x[0], kernel, stride, padding, dilation, attrs["ceil_mode"])


def _avg_pool2d(x: list[Tensor], attrs: Mapping[str, Any], own: Mapping[str, Tensor]) -> Tensor:
    kernel, stride, padding = (attrs[name] for name in ("kernel", "stride", "padding"))
    return F.avg_pool2d(x[0], kernel, stride, padding, attrs["ceil_mode"], attrs["count_include_pad"])


def _channel_group_mean(x: list[Tensor], attrs: Mapping[str, Any], own: Mapping[str, Tensor]) -> Tensor:
    return x[0].unflatten(1, (-1, attrs["channels"])).mean(dim=1)


def _add(x: list[Tensor], attrs: Mapping[str, Any], own: Mapping[str, Tensor]) -> Tensor:
    y = x[0]
    for other in x[1:]:
        y = y + other
    return y


RUN: dict[str, Run] = {
    "conv2d": _conv2d,
    "linear": lambda x, attrs, own: F.linear(x[0], own["weight"], own.get("bias")),
    "normalize": lambda x, attrs, own: (x[0] - _channels(x[0], own["mean"])) / _channels(x[0], own["std"]),
    "scale_shift": lambda x, attrs, own: x[0] * _channels(x[0], own["scale"]) + _channels(x[0], own["shift"]),
    "relu": lambda x, attrs, own: F.relu(x[0]),
    "hardtanh": lambda x, attrs, own: F.hardtanh(x[0], attrs["min"], attrs["max"]),
    "l2_norm": lambda x, attrs, own: F.normalize(x[0], eps=attrs["eps"]) * _channels(x[0], own["scale"]),
    "sigmoid": lambda x, attrs, own: torch.sigmoid(x[0]),
    "prelu": _prelu,
    "add": _add,
    "weighted_sum": _weighted_sum,
    "multiply": _multiply,
    "scale_map": lambda x, attrs, own: x[0] * own["scale"],
    "channel_group_mean": _channel_group_mean,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "global_avg_pool": lambda x, attrs, own: F.adaptive_avg_pool2d(x[0], 1),
    "flatten": lambda x, attrs, own: torch.flatten(x[0], 1),
    "resize_nearest": lambda x, attrs, own: F.interpolate(x[0], size=tuple(x[1].shape[-2:]), mode="nearest"),
    "resize_bilinear": lambda x, attrs, own: F.interpolate(
        x[0], size=tuple(x[1].shape[-2:]), mode="bilinear", align_corners=False
    ),
    "argmax": lambda x, attrs, own: x[0].argmax(1),
    "concat": lambda x, attrs, own: torch.cat(x, dim=1),
}


class FloatTwin(nn.Module):
    """Interprets a `FloatNet`.

    Args:
        net: the operations.
    """

    def __init__(self, net: FloatNet) -> None:
        super().__init__()
        self.net = net
        self.own = nn.ModuleList(_parameters(op) for op in net.ops)

    def forward(self, x: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        """The net's values `outputs` for a batch, (N, C, H, W), that is normalised already, and its values `given`."""
        values = {self.net.input_name: x, **dict(zip(self.net.given, given, strict=True))}
        for op, own in zip(self.net.ops, self.own, strict=True):
            values[op.output] = RUN[op.op]([values[name] for name in op.inputs], op.attrs, dict(own.named_parameters()))
        return tuple(values[name] for name in self.net.outputs)


def _parameters(op: FloatOp) -> nn.Module:
    module = nn.Module()
    for role, array in op.tensors.items():
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        module.register_parameter(role, nn.Parameter(tensor, requires_grad=False))
    return module


def make_twin(net: FloatNet) -> FloatTwin:
    """The twin in eval mode.

    Args:
        net: the operations.

    Raises:
        ValueError: an operation has no float form here.
    """
    unknown = sorted({op.op for op in net.ops} - set(RUN))
    if unknown:
        raise ValueError(f"Expected operations with a float twin, but got {unknown}.")
    return FloatTwin(net).eval()
