"""How each supported module becomes runtime nodes: one small function a type, and the table of them."""

from collections.abc import Callable

import numpy as np
from torch import Tensor, nn

from bnn_tasks.binary import BinaryConv2d, BinaryLinear, RPReLU, Term
from bnn_tasks.export.builder import ExportError, GraphBuilder, to_numpy
from bnn_tasks.export.fold import FoldedSign
from bnn_tasks.models import Normalize, ResizeLike

BinaryLayer = BinaryConv2d | BinaryLinear
Emit = Callable[[GraphBuilder, str, nn.Module, list[str]], str]


def _pair(value: int | tuple[int, int]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def pack_weight(weight: Tensor) -> np.ndarray:
    """±1 weights, (O, ...), as rows of bits: uint8 (O, ⌈n/8⌉), row-major, least significant bit first, 1 is +1."""
    return np.packbits((weight.flatten(1) > 0).numpy(), axis=1, bitorder="little")


def emit_sign(builder: GraphBuilder, name: str, x: str, threshold: Tensor | None, groups: int) -> str:
    """The sign of a real value."""
    return builder.add("sign", f"{name}.sign", [x], {"groups": groups}, {"threshold": threshold})


def _binary_attrs(layer: BinaryLayer, term: Term) -> dict[str, object]:
    if isinstance(layer, BinaryLinear):
        return {"features": layer.in_features}
    return {
        "channels": layer.in_channels,
        "kernel": list(layer.kernel_size),
        "stride": list(term.stride),
        "padding": list(term.padding),
        "dilation": list(term.dilation),
        "groups": term.groups,
        "pad_value": term.pad_value,
    }


def binary_op(layer: BinaryLayer) -> str:
    """The runtime's operation for a binary layer."""
    return "binary_linear" if isinstance(layer, BinaryLinear) else "binary_conv2d"


def emit_binary(builder: GraphBuilder, name: str, layer: BinaryLayer, bits: list[str]) -> str:
    """A binary layer with real output: one node a term, added up.

    Args:
        builder: takes the nodes.
        name: of the layer.
        layer: the layer.
        bits: the packed input of every term.
    """
    terms = layer.terms()
    parts = []
    for index, (term, x) in enumerate(zip(terms.terms, bits, strict=True)):
        part = name if len(terms.terms) == 1 else f"{name}.term{index}"
        tensors = {
            "weight": pack_weight(term.weight),
            "scale": term.scale,
            "bias": terms.bias if index == 0 else None,
        }
        parts.append(builder.add(binary_op(layer), part, [x], _binary_attrs(layer, term), tensors))
    return parts[0] if len(parts) == 1 else builder.add("add", f"{name}.sum", parts)


def emit_folded(
    builder: GraphBuilder, name: str, layer: BinaryLayer, bits: str, folded: FoldedSign, out_groups: int
) -> str:
    """A binary layer whose accumulators become bits at once."""
    (term,) = layer.terms().terms
    attrs = _binary_attrs(layer, term)
    if isinstance(layer, BinaryConv2d):
        attrs["out_groups"] = out_groups
    tensors = {"weight": pack_weight(term.weight), "threshold": folded.threshold, "flip": folded.flip}
    return builder.add(binary_op(layer), name, [bits], attrs, tensors)


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


def _linear(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, nn.Linear)
    return builder.add("linear", name, inputs, {}, {"weight": layer.weight, "bias": layer.bias})


def _batch_norm(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d)
    if layer.running_mean is None or layer.running_var is None:
        raise ExportError(
            f"Expected {name!r} to have running statistics, but it has none. Cure: track_running_stats=True and train."
        )
    # The float32 steps of torch's BatchNorm in eval mode, which are scalar code; torch.sqrt's vector code rounds differently.
    scale = np.float32(1) / np.sqrt(to_numpy(layer.running_var) + np.float32(layer.eps))
    if layer.weight is not None:
        scale = scale * to_numpy(layer.weight)
    # There a fused multiply-add: the product is exact in float64.
    shift = -to_numpy(layer.running_mean).astype(np.float64) * scale
    if layer.bias is not None:
        shift = shift + to_numpy(layer.bias)
    tensors = {"scale": scale, "shift": shift.astype(np.float32)}
    return builder.add("scale_shift", name, inputs, {}, tensors)


def _normalize(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, Normalize)
    return builder.add("normalize", name, inputs, {}, {"mean": layer.mean, "std": layer.std})


def _prelu(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, nn.PReLU)
    return builder.add("prelu", name, inputs, {}, {"slope": layer.weight})


def _rprelu(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, RPReLU)
    tensors = {"slope": layer.prelu.weight, "shift_in": layer.shift_in, "shift_out": layer.shift_out}
    return builder.add("prelu", name, inputs, {}, tensors)


def _hardtanh(builder: GraphBuilder, name: str, layer: nn.Module, inputs: list[str]) -> str:
    assert isinstance(layer, nn.Hardtanh)
    return builder.add("hardtanh", name, inputs, {"min": float(layer.min_val), "max": float(layer.max_val)})


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
    nn.Linear: _linear,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm1d: _batch_norm,
    nn.ReLU: _simple("relu"),
    nn.ReLU6: _hardtanh,
    nn.Hardtanh: _hardtanh,
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
    RPReLU: _rprelu,
    ResizeLike: _simple("resize_nearest"),
}
