"""Real-valued convolution and linear layer."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from bnn_tasks.runtime import reference
from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.kinds import FloatMap, Kind, Vector, agree, known
from bnn_tasks.runtime.ops.attrs import COUNT, DILATION, PADDING, STRIDE
from bnn_tasks.runtime.ops.base import (
    FLOAT_WEIGHTS,
    Attrs,
    Context,
    Op,
    Role,
    Tensors,
    expect_shape,
    float_map,
)
from bnn_tasks.runtime.ops.windows import output_map, windows_over


def check_bias(tensors: Tensors, outputs: int) -> None:
    """Raise GraphError unless the bias, where there is one, has a value for each output."""
    if "bias" in tensors:
        expect_shape("bias", tensors["bias"], (outputs,), "one for each output")


def bias_or_zero(tensors: Tensors, outputs: int) -> np.ndarray:
    """The bias, zeros where there is none."""
    return np.ascontiguousarray(tensors["bias"]) if "bias" in tensors else np.zeros(outputs, np.float32)


class Conv2d(Op):
    """torch.nn.Conv2d with zero padding: weight (O, I/groups, kh, kw), bias (O)."""

    attrs: ClassVar = {"stride": STRIDE, "padding": PADDING, "dilation": DILATION, "groups": COUNT}
    roles: ClassVar = {
        "weight": Role("float32", 4, category=FLOAT_WEIGHTS),
        "bias": Role("float32", 1, required=False, category=FLOAT_WEIGHTS),
    }
    layer = True

    def check(self, attrs: Attrs, tensors: Tensors) -> None:
        """Groups divide the outputs."""
        outputs = tensors["weight"].shape[0]
        if outputs % attrs["groups"]:
            raise GraphError(f"Expected `groups` to divide {outputs} output channels, but got {attrs['groups']}.")
        check_bias(tensors, outputs)

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Map to map."""
        x = float_map(inputs[0])
        outputs, per_group, kh, kw = tensors["weight"].shape
        if x.channels != per_group * attrs["groups"]:
            raise GraphError(
                f"Expected {per_group * attrs['groups']} input channels (weight and groups), but got {x.channels}."
            )
        return [output_map(x, outputs, (kh, kw), attrs)]

    def prepare(self, attrs: Attrs, tensors: Tensors) -> Any:
        """Weight as [groups, kh, kw, I, O], and bias."""
        weight, groups = tensors["weight"], attrs["groups"]
        tiled = weight.reshape(groups, -1, *weight.shape[1:]).transpose(0, 3, 4, 2, 1)
        return np.ascontiguousarray(tiled), bias_or_zero(tensors, weight.shape[0])

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Convolve."""
        weight, bias = prepared
        windows = windows_over(inputs[0], weight.shape[1:3], attrs)
        return [reference.float_conv2d(inputs[0], weight, bias, windows)]

    def cost(self, inputs: Sequence[Kind], outputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> int:
        """Multiply-adds: one for each output value and tap."""
        y = outputs[0]
        assert isinstance(y, FloatMap)
        return tensors["weight"].size * known(y.height) * known(y.width)


class Linear(Op):
    """torch.nn.Linear: weight (O, I), bias (O)."""

    roles: ClassVar = {
        "weight": Role("float32", 2, category=FLOAT_WEIGHTS),
        "bias": Role("float32", 1, required=False, category=FLOAT_WEIGHTS),
    }
    layer = True

    def check(self, attrs: Attrs, tensors: Tensors) -> None:
        """The bias fits."""
        check_bias(tensors, tensors["weight"].shape[0])

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Vector to vector."""
        x = inputs[0]
        outputs, features = tensors["weight"].shape
        if not isinstance(x, Vector) or not agree(x.channels, features):
            raise GraphError(f"Expected a vector of {features} values as input, but got {x}.")
        return [Vector(outputs)]

    def prepare(self, attrs: Attrs, tensors: Tensors) -> Any:
        """Weight as a 1 × 1 convolution's, and bias."""
        weight = np.ascontiguousarray(tensors["weight"].T)
        return weight[None, None, None], bias_or_zero(tensors, weight.shape[1])

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Multiply."""
        weight, bias = prepared
        return [reference.float_conv2d(inputs[0][None, None], weight, bias, reference.PIXEL)[0, 0]]

    def cost(self, inputs: Sequence[Kind], outputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> int:
        """Multiply-adds."""
        return tensors["weight"].size
