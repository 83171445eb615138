"""Single layers: one-layer artifacts, OpenVINO's binary convolution beside ours, the report's sums."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from bnn_tasks.bench import convolutions
from bnn_tasks.bench.convolutions import LAYERS, Layer, bench_convolutions, examples, layer_artifact
from bnn_tasks.bench.machine import cores
from bnn_tasks.bench.material import Net, read_actual, write_examples
from bnn_tasks.bench.race import Result
from bnn_tasks.runtime import Session
from bnn_tasks.runtime.format import save


def made(layer: Layer, folder: Path) -> Net:
    rng = np.random.default_rng(1)
    graph, tensors = layer_artifact(layer, rng)
    artifact = str(folder / "layer.safetensors")
    save(artifact, graph, tensors)
    net = Net(str(layer), artifact, artifact, str(folder), (layer.side, layer.side), False)
    write_examples(net, Session(artifact), examples(layer, tensors, rng))
    return net


def test_operations() -> None:
    assert str(LAYERS[0]) == "binary 3x3/1 64-64 at 56"
    assert LAYERS[0].operations == 2 * 64 * 64 * 9 * 56 * 56
    assert LAYERS[4].operations == 2 * 64 * 3 * 49 * 112 * 112


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed (extra [bench])")
@pytest.mark.parametrize("nhwc", [False, True])
@pytest.mark.parametrize(
    "layer", [Layer(16, 24, 3, 1, 9, True), Layer(64, 5, 5, 2, 11, True), Layer(8, 7, 1, 1, 4, True)]
)
def test_openvino_computes_the_same_integers(layer: Layer, nhwc: bool, tmp_path: Path) -> None:
    from bnn_tasks.bench.peers.open_vino_binary import open_binary

    net = made(layer, tmp_path)
    (y,) = open_binary(net, 1, {"nhwc": nhwc}).outputs()
    np.testing.assert_array_equal(y[0], read_actual(net, 0)["y"])


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed (extra [bench])")
def test_channels_that_openvino_gets_wrong_are_refused(tmp_path: Path) -> None:
    from bnn_tasks.bench.peers.open_vino_binary import open_binary

    net = made(Layer(12, 8, 3, 1, 6, True), tmp_path)
    with pytest.raises(ValueError, match="multiples of 8"):
        open_binary(net, 1, {"nhwc": False})


def test_sums_are_over_contenders_with_every_figure() -> None:
    layers = [Layer(8, 8, 3, 1, 4, True), Layer(16, 16, 3, 1, 4, True)]
    results = [
        Result("bnn_tasks", str(layers[0]), turns=[1.0]),
        Result("bnn_tasks", str(layers[1]), turns=[3.0]),
        Result("torch-fp32", str(layers[0]), turns=[8.0]),
        Result("torch-fp32", str(layers[1]), turns=[4.0]),
        Result("openvino-binary", str(layers[0]), turns=[8.0]),
        Result("openvino-binary", str(layers[1]), error="crashed"),
    ]
    ours, peer = convolutions._sums(layers, results)
    assert ours == "2 binary layers, bnn_tasks: 4000.000 ms = 1.00 × bnn_tasks"
    assert peer == "2 binary layers, torch-fp32: 12000.000 ms = 3.00 × bnn_tasks"


def test_numbers_out_of_range() -> None:
    with pytest.raises(ValueError, match=rf"in \[1, {cores()}\]"):
        bench_convolutions(threads=cores() + 1)
    with pytest.raises(ValueError, match="at least 1"):
        bench_convolutions(rounds=0)
