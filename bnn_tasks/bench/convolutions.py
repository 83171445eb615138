"""`bnn-tasks bench --convolutions`: single layers of ResNet-18, float map in, float map out, against other engines' layers."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bnn_tasks.bench.contenders import FP32, OURS, SUMS, entry, missing
from bnn_tasks.bench.float_models import write_models, write_twin
from bnn_tasks.bench.material import Net, write_examples
from bnn_tasks.bench.race import TURN_SECONDS, Result, race
from bnn_tasks.bench.report import NetFacts, Report, Total
from bnn_tasks.bench.whole import check_numbers
from bnn_tasks.runtime import Session
from bnn_tasks.runtime.format import save
from bnn_tasks.runtime.graph import Graph, Node

BINARY = (OURS, SUMS, "openvino-binary", "openvino-layer-fp32", "torch-fp32")
FLOAT = (OURS, "openvino-layer-fp32", "torch-fp32")
NODE = "layer"  # of the artifacts
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

    @property
    def limit(self) -> str:
        """What bounds its operations a second."""
        return "popcount peak" if self.binary else "FMA peak"


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
        nodes = [Node(NODE, "conv2d", ("images",), ("y",), geometry, {"weight": "weight"})]
        return Graph(tuple(nodes), "y", channels=layer.inputs), floats
    bits = rng.integers(0, 2, shape).reshape(layer.outputs, -1)
    tensors: dict[str, np.ndarray] = {
        "weight": np.packbits(bits.astype(np.uint8), axis=1, bitorder="little"),
        "threshold": (0.1 * rng.standard_normal(layer.inputs)).astype(np.float32),
    }
    attrs = geometry | {"channels": layer.inputs, "kernel": [layer.kernel] * 2, "pad_value": 0}
    sign = Node("sign", "sign", ("images",), ("bits",), {"groups": 1}, {"threshold": "threshold"})
    convolution = Node(NODE, "binary_conv2d", ("bits",), ("y",), attrs, {"weight": "weight"})
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
        The report, with totals over binary and over float layers.

    Raises:
        ValueError: an argument is out of range.
    """
    check_numbers(threads, rounds)
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="bnn_tasks_bench_") as name:
        for binary, names in ((True, BINARY), (False, FLOAT)):
            nets = [_net(layer, Path(name)) for layer in layers if layer.binary == binary]
            if not nets:
                continue
            failures: dict[str, str] = {}
            twins = [name for name in names if entry(name).family and entry(name).opener != "openvino-binary"]
            if any(missing(name) is None for name in twins):
                say(f"building the float twins of {len(nets)} layers")
                for net in nets:
                    write_twin(net)
                    failures |= write_models(net, [FP32], lambda text: None)
            results += race(nets, names, threads, rounds, Path(name), turn_seconds, failures, say)
    facts = [
        NetFacts(str(layer), (layer.side, layer.side), False, operations=layer.operations, limit=layer.limit)
        for layer in layers
    ]
    return Report.of(facts, results, threads, rounds, _totals(layers, results))


def _net(layer: Layer, folder: Path) -> Net:
    own = folder / str(layer).replace("/", "s").replace(" ", "_")
    own.mkdir()
    rng = np.random.default_rng(0)
    graph, tensors = layer_artifact(layer, rng)
    artifact = str(own / "layer.safetensors")
    save(artifact, graph, tensors)
    net = Net(str(layer), artifact, artifact, str(own), (layer.side, layer.side), False, NODE)
    write_examples(net, Session(artifact, 1), examples(layer, tensors, rng))
    return net


def _totals(layers: Sequence[Layer], results: Sequence[Result]) -> list[Total]:
    """One a kind of layers and contender that has all its figures."""
    totals = []
    for binary in (True, False):
        mine = {str(layer): layer for layer in layers if layer.binary == binary}
        found: dict[str, list[Result]] = {}
        for result in results:
            if result.net in mine and result.error is None:
                found.setdefault(result.contender, []).append(result)
        complete = {contender: own for contender, own in found.items() if len(own) == len(mine)}
        sums = {contender: sum(result.seconds for result in own) for contender, own in complete.items()}
        for contender, own in complete.items():
            shares = [result.share(mine[result.net].operations) for result in own]
            weighted = sum(share * result.seconds for share, result in zip(shares, own))
            totals.append(
                Total(
                    f"{len(mine)} {'binary' if binary else 'float'} layers",
                    contender,
                    seconds=sums[contender],
                    ratio=sums[contender] / sums[OURS] if OURS in sums else 0.0,
                    limit=mine[own[0].net].limit,
                    share=weighted / sums[contender],
                    lowest=min(shares),
                )
            )
    return totals
