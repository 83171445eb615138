"""Ops that treat every value, or every channel, alike."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.kinds import Kind, agree
from bnn_tasks.runtime.ops.attrs import Real
from bnn_tasks.runtime.ops.base import Attrs, Context, Op, Role, Tensors, float_kind

FLOAT32_MAX = float(np.finfo(np.float32).max)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) in float32."""
    with np.errstate(over="ignore"):  # exp(-x) = inf gives 0, as it should
        return np.float32(1) / (np.float32(1) + np.exp(-x))


class Elementwise(Op):
    """Float map or vector in, the same kind out; each tensor has a value for each channel."""

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """The kind stays."""
        x = float_kind(inputs[0])
        for role, tensor in tensors.items():
            if not agree(x.channels, tensor.size):
                raise GraphError(f"Expected tensor `{role}` to have {x.channels} values (channels), got {tensor.size}.")
        return [x]


class Normalize(Elementwise):
    """(x - mean) / std, both (C)."""

    roles: ClassVar = {"mean": Role("float32", 1), "std": Role("float32", 1)}

    def check(self, attrs: Attrs, tensors: Tensors) -> None:
        """No division by zero."""
        if (tensors["std"] <= 0).any():
            raise GraphError("Expected tensor `std` to be above 0.")

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Subtract, then divide, as torchvision does."""
        return [(inputs[0] - prepared["mean"]) / prepared["std"]]


class ScaleShift(Elementwise):
    """x·scale + shift, both (C): a BatchNorm that no longer learns.

    This is the fused multiply-add that torch's BatchNorm computes, so that signs after it agree on every machine.
    """

    roles: ClassVar = {"scale": Role("float32", 1), "shift": Role("float32", 1)}

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Multiply and add, rounded once: a product of floats is exact in float64."""
        y = np.multiply(inputs[0], prepared["scale"], dtype=np.float64)
        y += prepared["shift"]
        return [y.astype(np.float32)]


class Relu(Elementwise):
    """max(x, 0)."""

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Clip below."""
        return [np.maximum(inputs[0], np.float32(0))]


class Hardtanh(Elementwise):
    """min(max(x, min), max)."""

    attrs: ClassVar = {"min": Real(-FLOAT32_MAX, FLOAT32_MAX), "max": Real(-FLOAT32_MAX, FLOAT32_MAX)}

    def check(self, attrs: Attrs, tensors: Tensors) -> None:
        """The interval is not empty."""
        if attrs["min"] > attrs["max"]:
            raise GraphError(f"Expected `min` <= `max`, but got {attrs['min']} and {attrs['max']}.")

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Clip on both sides."""
        return [np.clip(inputs[0], np.float32(attrs["min"]), np.float32(attrs["max"]))]


class Sigmoid(Elementwise):
    """1 / (1 + exp(-x))."""

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Squash."""
        return [sigmoid(inputs[0])]


class PRelu(Elementwise):
    """u = x - shift_in; (slope_above·u if u >= 0 else slope·u) + shift_out.

    With the shifts RPReLU (ReActNet), with slope_above Maxout (AdaBin), with neither PReLU. `slope` has one value or one
    for each channel, the others one for each channel.
    """

    roles: ClassVar = {
        "slope": Role("float32", 1),
        "slope_above": Role("float32", 1, required=False),
        "shift_in": Role("float32", 1, required=False),
        "shift_out": Role("float32", 1, required=False),
    }

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """The kind stays; one slope may serve all channels."""
        one_slope = tensors["slope"].size == 1
        return super().infer(inputs, attrs, {k: v for k, v in tensors.items() if not (one_slope and k == "slope")})

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Shift, bend, shift."""
        u = inputs[0] - prepared["shift_in"] if "shift_in" in prepared else inputs[0]
        above = u * prepared["slope_above"] if "slope_above" in prepared else u
        y = np.where(u >= 0, above, u * prepared["slope"])
        if "shift_out" in prepared:
            y += prepared["shift_out"]
        return [y]
