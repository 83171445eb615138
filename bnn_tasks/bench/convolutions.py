"""`bnn-tasks bench --convolutions`: single layers of ResNet-18, float map in, float map out, against other engines' layers."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bnn_tasks.bench.contenders import FP32, OURS, entry, missing
from bnn_tasks.bench.float_models import write_models, write_twin
from bnn_tasks.bench.material import Net, write_examples
from bnn_tasks.bench.race import TURN_SECONDS, Result, race
from bnn_tasks.bench.report import NetFacts, Report
from bnn_tasks.bench.whole import check_numbers
from bnn_tasks.runtime import Session
from bnn_tasks.runtime.format import save
from bnn_tasks.runtime.graph import Graph, Node

BINARY_PEERS = ("openvino-binary", "openvino-layer-fp32", "torch-fp32")
FLOAT_PEERS = ("openvino-layer-fp32", "torch-fp32")
EXAMPLES = 2


@dataclass(frozen=True)
class Layer:
    """A convolution with as much padding as its kernel's half.

    Attributes:
        inputs: channels.
        outputs: channels.
        kernel: taps a side.
        stride: pixels.
        side: of the input map, pixels.
        binary: whether weights and activations are signs.
    """

    inputs: int
    outputs: int
    kernel: int
    stride: int
    side: int
    binary: bool

    def __str__(self) -> str:
        kind = "binary" if self.binary else "float"
        return f"{kind} {self.kernel}x{self.kernel}/{self.stride} {self.inputs}-{self.outputs} at {self.side}"

    @property
    def operations(self) -> int:
        """Two a multiply-add, padding included."""
        side = -(-self.side // self.stride)
        return 2 * self.outputs * self.inputs * self.kernel**2 * side**2


LAYERS = (
    Layer(64, 64, 3, 1, 56, True),
    Layer(128, 128, 3, 1, 28, True),
    Layer(256, 256, 3, 1, 14, True),
    Layer(512, 512, 3, 1, 7, True),
    Layer(3, 64, 7, 2, 224, False),
    Layer(64, 128, 1, 1, 28, False),
    Layer(128, 256, 1, 1, 14, False),
    Layer(256, 512, 1, 1, 7, False),
)


def layer_artifact(layer: Layer, rng: np.random.Generator) -> tuple[Graph, dict[str, np.ndarray]]:
    """Graph and tensors of an artifact of this one layer.

    Args:
        layer: which.
        rng: draws weights, and a binary layer's thresholds.
    """
    shape = (layer.outputs, layer.inputs, layer.kernel, layer.kernel)
    geometry: dict[str, Any] = {
        "stride": [layer.stride] * 2,
        "padding": [layer.kernel // 2] * 2,
        "dilation": [1, 1],
        "groups": 1,
    }
    if not layer.binary:
        floats: dict[str, np.ndarray] = {"weight": rng.standard_normal(shape, np.float32)}
        nodes = [Node("layer", "conv2d", ("images",), ("y",), geometry, {"weight": "weight"})]
        return Graph(tuple(nodes), "y", channels=layer.inputs), floats
    bits = rng.integers(0, 2, shape).reshape(layer.outputs, -1)
    tensors: dict[str, np.ndarray] = {
        "weight": np.packbits(bits.astype(np.uint8), axis=1, bitorder="little"),
        "threshold": (0.1 * rng.standard_normal(layer.inputs)).astype(np.float32),
    }
    attrs = geometry | {"channels": layer.inputs, "kernel": [layer.kernel] * 2, "pad_value": 0}
    sign = Node("sign", "sign", ("images",), ("bits",), {"groups": 1}, {"threshold": "threshold"})
    convolution = Node("layer", "binary_conv2d", ("bits",), ("y",), attrs, {"weight": "weight"})
    return Graph((sign, convolution), "y", channels=layer.inputs), tensors


def examples(layer: Layer, tensors: dict[str, np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Maps [H, W, C]; of a binary layer, some values lie on the threshold.

    Args:
        layer: which.
        tensors: of its artifact.
        rng: draws the rest.
    """
    maps = rng.standard_normal((EXAMPLES, layer.side, layer.side, layer.inputs), np.float32)
    if layer.binary:
        maps[:, ::3, ::3] = tensors["threshold"]
    return list(maps)


def bench_convolutions(
    threads: int = 1,
    rounds: int = 15,
    turn_seconds: float = TURN_SECONDS,
    layers: Sequence[Layer] = LAYERS,
    say: Callable[[str], None] = lambda text: None,
) -> Report:
    """Time single layers.

    Args:
        threads: that each contender may use.
        rounds: turns of each.
        turn_seconds: for a turn of one layer.
        layers: which.
        say: takes a line of progress.

    Returns:
        The report, with sums over binary and over float layers.

    Raises:
        ValueError: an argument is out of range.
    """
    check_numbers(threads, rounds)
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="bnn_tasks_bench_") as name:
        for binary, peers in ((True, BINARY_PEERS), (False, FLOAT_PEERS)):
            nets = [_net(layer, Path(name)) for layer in layers if layer.binary == binary]
            if not nets:
                continue
            failures: dict[str, str] = {}
            if any(missing(peer) is None and entry(peer).opener != "openvino-binary" for peer in peers):
                say(f"building the float twins of {len(nets)} layers")
                for net in nets:
                    write_twin(net)
                    failures |= write_models(net, [FP32], lambda text: None)
            names = [OURS, "bnn_tasks-steps", *peers]
            results += race(nets, names, threads, rounds, Path(name), turn_seconds, failures, say)
    facts = [NetFacts(str(layer), (layer.side, layer.side), False, operations=layer.operations) for layer in layers]
    return Report.of(facts, results, threads, rounds, _sums(layers, results))


def _net(layer: Layer, folder: Path) -> Net:
    own = folder / str(layer).replace("/", "s").replace(" ", "_")
    own.mkdir()
    rng = np.random.default_rng(0)
    graph, tensors = layer_artifact(layer, rng)
    artifact = str(own / "layer.safetensors")
    save(artifact, graph, tensors)
    net = Net(str(layer), artifact, artifact, str(own), (layer.side, layer.side), False)
    write_examples(net, Session(artifact, 1), examples(layer, tensors, rng))
    return net


def _sums(layers: Sequence[Layer], results: Sequence[Result]) -> list[str]:
    """A line a contender and kind that has all its figures: summed medians, against the artifact's."""
    lines = []
    for binary in (True, False):
        names = [str(layer) for layer in layers if layer.binary == binary]
        times: dict[str, list[float]] = {}
        for result in results:
            if result.net in names and result.error is None:
                times.setdefault(result.contender, []).append(result.seconds)
        sums = {contender: sum(own) for contender, own in times.items() if len(own) == len(names)}
        for contender, seconds in sums.items():
            against = [f"{seconds / sums[ours]:.2f} × {ours}" for ours in (OURS, "bnn_tasks-steps") if ours in sums]
            lines.append(
                f"{len(names)} {'binary' if binary else 'float'} layers, {contender}: {1e3 * seconds:.3f} ms"
                + (f" = {', '.join(against)}" if against else "")
            )
    return lines
