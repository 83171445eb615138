"""A one-layer artifact as OpenVINO's BinaryConvolution.

FakeQuantize of two levels packs, with outputs 0 and 1: with -1 and 1 the result is silently wrong, as it is for channels
that are no multiple of 8. Its comparison is x > t; the number before t makes it x >= t, which is the artifact's.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import openvino
from openvino import opset13 as op

from bnn_tasks.bench.material import Net, read_examples
from bnn_tasks.bench.peers.base import Contender
from bnn_tasks.bench.peers.open_vino import OpenVinoModel
from bnn_tasks.runtime.format import load


def binary_model(net: Net, nhwc: bool) -> Any:
    """The artifact's sign and binary convolution as an OpenVINO model of fixed size.

    Args:
        net: of two nodes, sign and binary_conv2d, float outputs.
        nhwc: whether maps come and go channels last, which saves the plugin a reordering.

    Raises:
        ValueError: the artifact is not such a layer, or not one that OpenVINO computes.
    """
    graph, tensors = load(net.artifact)
    if [node.op for node in graph.nodes] != ["sign", "binary_conv2d"]:
        raise ValueError("Expected an artifact of one sign and one binary convolution.")
    sign, layer = graph.nodes
    channels, groups = layer.attrs["channels"], layer.attrs["groups"]
    if channels % 8 or groups != 1 or "threshold" in layer.tensors:
        raise ValueError(f"Expected channels in multiples of 8 and one group, but got {channels} and {groups}.")
    threshold = tensors[sign.tensors["threshold"]] if "threshold" in sign.tensors else np.zeros(1, np.float32)
    below = np.nextafter(threshold, np.float32(-np.inf)).reshape(1, -1, 1, 1)
    height, width = net.size
    shape = [1, height, width, channels] if nhwc else [1, channels, height, width]
    x = op.parameter(shape, np.float32)
    packed = op.fake_quantize(_moved(x, nhwc, [0, 3, 1, 2]), below, below, np.float32(0), np.float32(1), 2)
    rows = tensors[layer.tensors["weight"]]
    weight = openvino.Tensor(openvino.Type.u1, openvino.Shape([len(rows), channels, *layer.attrs["kernel"]]))
    weight.data.reshape(-1)[:] = rows.reshape(-1)  # a row of a multiple of 8 channels has no tail
    attrs = layer.attrs
    y = op.binary_convolution(
        packed, op.constant(weight), attrs["stride"], attrs["padding"], attrs["padding"], attrs["dilation"],
        "xnor-popcount", float(attrs["pad_value"]),
    )  # fmt: skip
    for role, apply in (("scale", op.multiply), ("bias", op.add)):
        if role in layer.tensors:
            y = apply(y, op.constant(tensors[layer.tensors[role]].reshape(1, -1, 1, 1)))
    return openvino.Model([_moved(y, nhwc, [0, 2, 3, 1])], [x], "layer")


def _moved(x: Any, moved: bool, axes: list[int]) -> Any:
    return op.transpose(x, op.constant(np.array(axes))) if moved else x


def open_binary(net: Net, threads: int, options: Mapping[str, Any]) -> Contender:
    """The layer in OpenVINO, float maps in and out.

    Args:
        net: a one-layer artifact; its material is ready.
        threads: of inference.
        options: `nhwc`, whether maps come and go channels last.
    """
    nhwc = bool(options["nhwc"])
    model = OpenVinoModel(binary_model(net, nhwc), threads, "f32", None, nhwc)
    model.about["layout"] = "NHWC" if nhwc else "NCHW"
    fed = [model.feed(x) for x in read_examples(net)]

    def outputs() -> list[np.ndarray]:
        y = np.array(model.infer(fed[0])[0])
        return [y.transpose(0, 3, 1, 2) if nhwc else y]

    return Contender(lambda index: model.infer(fed[index]), outputs, model.about, clock=model.seconds)
