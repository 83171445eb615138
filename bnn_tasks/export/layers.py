"""How each supported real-valued module becomes runtime nodes: one small function a type, and the table of them."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from bnn_tasks.backbones import BranchMean, BranchSum, ChannelGroupMean, ChannelScale, DepthwisePath, Maxout, SoftGate
from bnn_tasks.binary import RPReLU, ShiftBatchNorm2d
from bnn_tasks.export.builder import ExportError, GraphBuilder, to_numpy
from bnn_tasks.models import BilinearLike, Normalize, PercentileClip, ResizeLike
from bnn_tasks.models.l2_norm import L2Norm
from bnn_tasks.models.single_value_norm import SingleValueBatchNorm2d

Emit = Callable[[GraphBuilder, str, nn.Module, list[str]], str]


def _pair(value: int | tuple[int, int]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def _conv2d(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, nn.Conv2d)
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        raise ExportError(
            f"Expected {name!r} to pad with zeros by a number of pixels, but got padding={layer.padding!r}, "
            f"padding_mode={layer.padding_mode!r}. Cure: padding_mode='zeros' and the padding as a number."
        )
    attrs = {
        "stride": list(layer.stride),
        "padding": list(layer.padding),
        "dilation": list(layer.dilation),
        "groups": layer.groups,
    }
    return builder.add("conv2d", name, inputs, attrs, {"weight": layer.weight, "bias": layer.bias})


def _depthwise_path(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    # Two nodes, as in torch: with the identity among the taps, every value would be rounded in another way.
    return builder.add("add", f"{name}.sum", [inputs[0], _conv2d(builder, name, layer, inputs)])


def _linear(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, nn.Linear)
    return builder.add("linear", name, inputs, {}, {"weight": layer.weight, "bias": layer.bias})


def _batch_norm(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d)
    if layer.running_mean is None or layer.running_var is None:
        raise ExportError(
            f"Expected {name!r} to have running statistics, but it has none. Cure: track_running_stats=True and train."
        )
    variance = to_numpy(layer.running_var) + np.float32(layer.eps)
    if not (variance > 0).all():
        raise ExportError(f"Expected {name!r} to have variances >= 0, but some are not. Cure: an earlier checkpoint.")
    # The float32 steps of torch's BatchNorm in eval mode, which are scalar code; torch.sqrt's vector code rounds differently.
    scale = np.float32(1) / np.sqrt(variance)
    if layer.weight is not None:
        scale = scale * to_numpy(layer.weight)
    # There a fused multiply-add: the product is exact in float64.
    shift = -to_numpy(layer.running_mean).astype(np.float64) * scale
    if layer.bias is not None:
        shift = shift + to_numpy(layer.bias)
    tensors = {"scale": scale, "shift": shift.astype(np.float32)}
    return builder.add("scale_shift", name, inputs, {}, tensors)


def _shift_batch_norm(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, ShiftBatchNorm2d)
    return _batch_norm(builder, name, layer.as_batchnorm() if layer.running_var is not None else layer, inputs)


def _normalize(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, Normalize)
    return builder.add("normalize", name, inputs, {}, {"mean": layer.mean, "std": layer.std})


def _l2_norm(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, L2Norm)
    return builder.add("l2_norm", name, inputs, {"eps": layer.eps}, {"scale": layer.weight})


def _prelu(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, nn.PReLU)
    return builder.add("prelu", name, inputs, {}, {"slope": layer.weight})


def _rprelu(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, RPReLU)
    tensors = {"slope": layer.prelu.weight, "shift_in": layer.shift_in, "shift_out": layer.shift_out}
    return builder.add("prelu", name, inputs, {}, tensors)


def _maxout(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, Maxout)
    return builder.add("prelu", name, inputs, {}, {"slope": layer.negative, "slope_above": layer.positive})


def _channel_scale(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, ChannelScale)
    tensors = {"scale": layer.weight, "shift": torch.zeros_like(layer.weight)}
    return builder.add("scale_shift", name, inputs, {}, tensors)


def _channel_group_mean(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, ChannelGroupMean)
    return builder.add("channel_group_mean", name, inputs, {"channels": layer.out_channels})


def _weighted_sum(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, BranchMean | BranchSum | SoftGate)
    return builder.add("weighted_sum", name, inputs, {}, {"weight": layer.weights()})


def _hardtanh(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, nn.Hardtanh)
    low, high = float(layer.min_val), float(layer.max_val)
    if not math.isfinite(low) or not math.isfinite(high):
        raise ExportError(
            f"Expected {name!r} to clip at finite values, but got {layer}. Cure: 3e38 for inf, or nn.ReLU for (0, inf)."
        )
    return builder.add("hardtanh", name, inputs, {"min": low, "max": high})


def _percentile_clip(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, PercentileClip)
    low, high = float(layer.low), float(layer.high)
    if not low < high:
        raise ExportError(f"Expected {name!r} to have a range, but it has seen no training batch. Cure: train.")
    return builder.add("hardtanh", name, inputs, {"min": low, "max": high})


def _max_pool(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, nn.MaxPool2d)
    attrs = {
        "kernel": _pair(layer.kernel_size),
        "stride": _pair(layer.stride),
        "padding": _pair(layer.padding),
        "dilation": _pair(layer.dilation),
        "ceil_mode": layer.ceil_mode,
    }
    return builder.add("max_pool2d", name, inputs, attrs)


def _avg_pool(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, nn.AvgPool2d)
    if layer.divisor_override is not None:
        raise ExportError(f"Expected {name!r} to divide by its window, but got divisor_override.")
    attrs = {
        "kernel": _pair(layer.kernel_size),
        "stride": _pair(layer.stride),
        "padding": _pair(layer.padding),
        "ceil_mode": layer.ceil_mode,
        "count_include_pad": layer.count_include_pad,
    }
    return builder.add("avg_pool2d", name, inputs, attrs)


def _global_pool(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, nn.AdaptiveAvgPool2d)
    if layer.output_size not in (1, (1, 1)):
        raise ExportError(f"Expected {name!r} to pool to 1×1, but got output_size={layer.output_size}.")
    return builder.add("global_avg_pool", name, inputs)


def _flatten(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, nn.Flatten)
    if (layer.start_dim, layer.end_dim) not in ((1, -1), (1, 3)):
        raise ExportError(f"Expected {name!r} to flatten all but the batch, but got {layer}.")
    return builder.add("flatten", name, inputs)


def _simple(op: str) -> Emit:
    return lambda builder, name, layer, inputs: builder.add(op, name, inputs)


def _nothing(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    return inputs[0]


MODULES: dict[type[nn.Module], Emit] = {
    nn.Conv2d: _conv2d,
    DepthwisePath: _depthwise_path,
    nn.Linear: _linear,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm1d: _batch_norm,
    SingleValueBatchNorm2d: _batch_norm,
    ShiftBatchNorm2d: _shift_batch_norm,
    nn.ReLU: _simple("relu"),
    nn.ReLU6: _hardtanh,
    nn.Hardtanh: _hardtanh,
    PercentileClip: _percentile_clip,
    nn.PReLU: _prelu,
    nn.Sigmoid: _simple("sigmoid"),
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _avg_pool,
    nn.AdaptiveAvgPool2d: _global_pool,
    nn.Flatten: _flatten,
    nn.Dropout: _nothing,
    nn.Dropout2d: _nothing,
    nn.Identity: _nothing,
    Normalize: _normalize,
    L2Norm: _l2_norm,
    RPReLU: _rprelu,
    Maxout: _maxout,
    ChannelScale: _channel_scale,
    ChannelGroupMean: _channel_group_mean,
    BranchMean: _weighted_sum,
    BranchSum: _weighted_sum,
    SoftGate: _weighted_sum,
    ResizeLike: _simple("resize_nearest"),
    BilinearLike: _simple("resize_bilinear"),
}
