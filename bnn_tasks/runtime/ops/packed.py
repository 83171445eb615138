"""What all layers with packed 1-bit weights share, whatever their activations are: signs, patches of signs, real values."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from bnn_tasks.runtime import reference
from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.kinds import BitMap, FloatMap, Kind, Vector, known, words
from bnn_tasks.runtime.ops.attrs import COUNT, MAX_CHANNELS, Integer
from bnn_tasks.runtime.ops.base import (
    BINARY_WEIGHTS,
    Attrs,
    Op,
    Role,
    Tensors,
    expect_same,
    expect_shape,
)


class PackedLayer(Op):
    """y = (second input, if there is one) + sum·scale + bias, scale and bias (O); sum: Σ over taps of w·a.

    `weight` is rows of bits (O, ⌈n/8⌉). Through the second input several bases and planes add up without a map of their own.
    """

    roles: ClassVar = {
        "weight": Role("uint8", 2, category=BINARY_WEIGHTS),
        "scale": Role("float32", 1, required=False),
        "bias": Role("float32", 1, required=False),
    }
    arity = (1, 2)
    layer = True

    def taps(self, attrs: Attrs) -> tuple[int, int, int, int]:
        """Groups, channels of one group, kernel height and width."""
        raise NotImplementedError

    def check(self, attrs: Attrs, tensors: Tensors) -> None:
        """Packed rows of the right length whose tail bits are 0; a scale and a bias for each output."""
        groups, inputs, kh, kw = self.taps(attrs)
        weight = tensors["weight"]
        outputs, bits = weight.shape[0], inputs * kh * kw
        if outputs < 1 or outputs % groups:
            raise GraphError(f"Expected `groups` to divide {outputs} output channels, but got {groups}.")
        if bits >= 2**31:
            raise GraphError("Expected fewer than 2³¹ taps, so that accumulators fit 32 bits.")
        expect_shape("weight", weight, (outputs, -(-bits // 8)), f"{bits} bits a row")
        if bits % 8 and (weight[:, -1] >> (bits % 8)).any():
            raise GraphError("Expected the tail bits of tensor `weight` to be 0, but some are 1: the file is damaged.")
        for role, tensor in tensors.items():
            if role != "weight":
                expect_shape(role, tensor, (outputs,), "one for each output")

    def check_sum(self, inputs: Sequence[Kind], made: FloatMap | Vector) -> None:
        """Raise GraphError unless the second input, where there is one, is a value of the kind that is made."""
        for other in inputs[1:]:
            expect_same(made, other)

    def weight_bits(self, attrs: Attrs, tensors: Tensors) -> int:
        """Weights, one bit each."""
        _, inputs, kh, kw = self.taps(attrs)
        return tensors["weight"].shape[0] * inputs * kh * kw

    def tiled(self, attrs: Attrs, tensors: Tensors) -> np.ndarray:
        """Weight as [groups, kh, kw, words, O]."""
        groups, inputs, kh, kw = self.taps(attrs)
        return reference.tile_bits(tensors["weight"], inputs, groups, (kh, kw))

    def prepared_bytes(self, attrs: Attrs, tensors: Tensors) -> int:
        """Each group's channels fill up whole words."""
        _, inputs, kh, kw = self.taps(attrs)
        return tensors["weight"].shape[0] * (8 * kh * kw * words(inputs) + 8)


class GroupedLayer(PackedLayer):
    """A packed layer from `channels` in `groups` to a map; its kernel is 1 × 1 where none is named."""

    attrs: ClassVar = {"channels": COUNT, "groups": COUNT}

    def taps(self, attrs: Attrs) -> tuple[int, int, int, int]:
        """Groups, channels of one group, kernel height and width."""
        kh, kw = attrs.get("kernel", (1, 1))
        return attrs["groups"], attrs["channels"] // attrs["groups"], kh, kw

    def check(self, attrs: Attrs, tensors: Tensors) -> None:
        """Groups divide."""
        if attrs["channels"] % attrs["groups"]:
            raise GraphError(f"Expected `groups` to divide {attrs['channels']} channels, but got {attrs['groups']}.")
        super().check(attrs, tensors)

    def cost(self, inputs: Sequence[Kind], outputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> int:
        """Multiply-adds, of bits or of real values: one for each output value and tap."""
        y = outputs[0]
        assert isinstance(y, FloatMap | BitMap)
        return self.weight_bits(attrs, tensors) * known(y.height) * known(y.width)


class VectorLayer(PackedLayer):
    """A packed layer from a vector of `features` to a vector."""

    attrs: ClassVar = {"features": Integer(1, 64 * MAX_CHANNELS)}

    def taps(self, attrs: Attrs) -> tuple[int, int, int, int]:
        """A 1 × 1 convolution."""
        return 1, attrs["features"], 1, 1

    def cost(self, inputs: Sequence[Kind], outputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> int:
        """Multiply-adds, of bits or of real values."""
        return self.weight_bits(attrs, tensors)


def scale_and_bias(tensors: Tensors) -> tuple[np.ndarray, np.ndarray]:
    """Both (O) float32; ones and zeros where a layer has none."""
    outputs = tensors["weight"].shape[0]
    scale = tensors["scale"] if "scale" in tensors else np.ones(outputs, np.float32)
    return scale, tensors["bias"] if "bias" in tensors else np.zeros(outputs, np.float32)


def second_of(inputs: list[np.ndarray]) -> np.ndarray | None:
    """The second input, where a layer has one."""
    return inputs[1] if len(inputs) > 1 else None
