"""Pooling, with torch's windows and divisors."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from bnn_tasks.runtime import reference
from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.kinds import FloatMap, Kind, known
from bnn_tasks.runtime.ops.attrs import DILATION, KERNEL, PADDING, STRIDE, Flag
from bnn_tasks.runtime.ops.base import Attrs, Context, Op, Tensors, float_map
from bnn_tasks.runtime.ops.windows import output_map, windows_over


class _Pool2d(Op):
    """Windows of `kernel` taps over each channel."""

    def check(self, attrs: Attrs, tensors: Tensors) -> None:
        """Padding is at most half the kernel, as torch asks."""
        if any(2 * padding > kernel for padding, kernel in zip(attrs["padding"], attrs["kernel"], strict=True)):
            raise GraphError(f"Expected `padding` <= `kernel` / 2, but got {attrs['padding']} and {attrs['kernel']}.")

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Map to map."""
        x = float_map(inputs[0])
        kh, kw = attrs["kernel"]
        return [output_map(x, x.channels, (kh, kw), attrs)]

    def cost(self, inputs: Sequence[Kind], outputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> int:
        """Reads: one for each output value and tap."""
        y = float_map(outputs[0])
        kh, kw = attrs["kernel"]
        return y.channels * known(y.height) * known(y.width) * kh * kw


class MaxPool2d(_Pool2d):
    """torch.nn.MaxPool2d."""

    attrs: ClassVar = {
        "kernel": KERNEL,
        "stride": STRIDE,
        "padding": PADDING,
        "dilation": DILATION,
        "ceil_mode": Flag(),
    }

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Take maxima."""
        return [reference.max_pool2d(inputs[0], windows_over(inputs[0], tuple(attrs["kernel"]), attrs))]


class AvgPool2d(_Pool2d):
    """torch.nn.AvgPool2d without `divisor_override`."""

    attrs: ClassVar = {
        "kernel": KERNEL,
        "stride": STRIDE,
        "padding": PADDING,
        "ceil_mode": Flag(),
        "count_include_pad": Flag(),
    }

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Take means."""
        windows = windows_over(inputs[0], tuple(attrs["kernel"]), attrs)
        return [reference.avg_pool2d(inputs[0], windows, attrs["count_include_pad"])]


class GlobalAvgPool(Op):
    """Mean of each channel: a map of one pixel."""

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Map to one pixel."""
        return [FloatMap(float_map(inputs[0]).channels, 1, 1)]

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Sum in float64, round once."""
        return [inputs[0].mean(axis=(0, 1), keepdims=True, dtype=np.float64).astype(np.float32)]

    def cost(self, inputs: Sequence[Kind], outputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> int:
        """Reads."""
        return inputs[0].nbytes // 4
