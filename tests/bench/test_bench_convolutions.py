"""Single layers: one-layer artifacts, OpenVINO's binary convolution beside ours, the report's sums."""

import importlib.util
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from program_cases import needs_kernels

from bnn_tasks.bench import contenders, convolutions, process
from bnn_tasks.bench.contenders import OPENERS, OURS, SUMS
from bnn_tasks.bench.convolutions import LAYERS, Layer, bench_convolutions, examples, layer_artifact
from bnn_tasks.bench.material import Net, read_actual, write_examples
from bnn_tasks.bench.peers.base import Contender
from bnn_tasks.bench.race import Result
from bnn_tasks.bench.worker import agreement, check, entry
from bnn_tasks.runtime import Session
from bnn_tasks.runtime.format import save
from bnn_tasks.runtime.program import timing
from bnn_tasks.runtime.session import cores


def made(layer: Layer, folder: Path) -> Net:
    rng = np.random.default_rng(1)
    graph, tensors = layer_artifact(layer, rng)
    artifact = str(folder / "layer.safetensors")
    save(artifact, graph, tensors)
    net = Net(str(layer), artifact, artifact, str(folder), (layer.side, layer.side), False, convolutions.NODE)
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
    contender = open_binary(net, 1, {"nhwc": nhwc})
    (y,) = contender.outputs()
    np.testing.assert_array_equal(y[0], read_actual(net, 0)["y"])
    begin = time.perf_counter()
    contender.run(0)
    assert contender.clock is not None
    assert 0 < contender.clock() < time.perf_counter() - begin


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed (extra [bench])")
def test_channels_that_openvino_gets_wrong_are_refused(tmp_path: Path) -> None:
    from bnn_tasks.bench.peers.open_vino_binary import open_binary

    net = made(Layer(12, 8, 3, 1, 6, True), tmp_path)
    with pytest.raises(ValueError, match="multiples of 8"):
        open_binary(net, 1, {"nhwc": False})


@needs_kernels
@pytest.mark.parametrize("binary", [True, False])
def test_ours_is_timed_from_map_to_map(binary: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "fma_peak", lambda: 1e9)
    contender = opened(OURS, made(Layer(16, 24, 3, 1, 9, binary), tmp_path), threads=2)
    assert contender.measure is not None
    (seconds,) = contender.measure(0.001)
    assert 0 < seconds < 0.01
    assert (contender.limit is None) == binary
    assert contender.limit is None or contender.limit() == 2e9


@needs_kernels
def test_sums_are_timed_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int, int, int]] = []

    def time_sums(session: Session, node_name: str, height: int, width: int, repeats: int) -> float:
        asked.append((node_name, height, width, repeats))
        return real(session, node_name, height, width, repeats)

    real = timing.time_sums
    monkeypatch.setattr(timing, "time_sums", time_sums)
    monkeypatch.setattr(timing, "popcount_peak", lambda: 1e12)
    net = made(Layer(16, 24, 3, 1, 9, True), tmp_path)
    contender = opened(SUMS, net, threads=2)
    assert check(net, entry(SUMS), contender) == {"correlation": 1.0, "error": 0.0}
    assert contender.measure is not None
    (seconds,) = contender.measure(0.01)
    assert 0 < seconds < 0.01
    assert [call[:3] for call in asked] == [("layer", 9, 9)] * 2
    assert asked[0][3] == 3 < asked[1][3]
    assert contender.limit is not None
    assert contender.limit() == 2e12
    wrong = Contender(contender.run, lambda: [contender.outputs()[0] + 1])
    with pytest.raises(ValueError, match="refused"):
        check(net, entry(SUMS), wrong)


def test_the_sums_are_what_the_layer_gives(tmp_path: Path) -> None:
    net = made(Layer(64, 40, 3, 2, 11, True), tmp_path)
    found = agreement([read_actual(net, 0)["y"][None]], opened(SUMS, net, 1).outputs())
    assert found["error"] == 0.0


def opened(name: str, net: Net, threads: int) -> Contender:
    return OPENERS[entry(name).opener]()(net, threads, {})


def test_report_from_end_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that invent: 1 ms for maps, 5 ms for sums, of a peak of 4 G op/s; no peer is installed."""
    monkeypatch.setattr(process, "COMMAND", (sys.executable, str(Path(__file__).parent / "fake_worker.py")))
    monkeypatch.setattr(contenders.importlib.util, "find_spec", lambda name: None)
    layers = [Layer(64, 64, 3, 1, 14, True), Layer(8, 8, 3, 1, 4, True), Layer(3, 8, 1, 1, 4, False)]
    report = bench_convolutions(rounds=2, layers=layers)
    lines = str(report).splitlines()
    first, second = (layer.operations / 0.005 / 4e9 for layer in layers[:2])
    note = "  bnn_tasks-sums: runs fast; correlation with its reference 1.0000; "
    assert f"{note}{100 * first:.1f} % of the popcount peak of 0.004 T op/s" in lines
    assert "binary 3x3/1 64-64 at 14, 14×14, float map to float map" in lines
    of_peak = (
        f"{50 * (first + second):.1f} % of the popcount peak over their summed time, {100 * second:.1f} % the lowest"
    )
    assert lines[-3:-1] == [
        "2 binary layers, bnn_tasks: 2.000 ms = 1.00 × bnn_tasks",
        f"2 binary layers, packed signs to sums: 10.000 ms, {of_peak}",
    ]
    assert lines[-1] == "1 float layers, bnn_tasks: 1.000 ms = 1.00 × bnn_tasks"
    values = json.loads(json.dumps(report.to_dict()))
    assert [net["limit"] for net in values["nets"]] == ["popcount peak", "popcount peak", "FMA peak"]
    rows = {row["contender"]: row for row in values["nets"][0]["contenders"]}
    assert list(rows) == list(convolutions.BINARY)
    assert rows[SUMS]["limits"] == [4e9, 4e9]
    assert rows[SUMS]["share"] == pytest.approx(first)
    assert "share" not in rows[OURS]
    assert rows["torch-fp32"]["error"].startswith("needs torch")
    assert values["totals"][1]["share"] == pytest.approx((first + second) / 2)


def test_totals_are_over_contenders_with_every_figure() -> None:
    layers = [Layer(8, 8, 3, 1, 4, False), Layer(16, 16, 3, 1, 4, False)]
    operations = [layer.operations for layer in layers]
    results = [
        Result("bnn_tasks", str(layers[0]), turns=[1.0], limits=[2.0 * operations[0]]),
        Result("bnn_tasks", str(layers[1]), turns=[3.0], limits=[operations[1] / 1.5]),
        Result("torch-fp32", str(layers[0]), turns=[8.0]),
        Result("torch-fp32", str(layers[1]), turns=[4.0]),
        Result("openvino-layer-fp32", str(layers[0]), turns=[8.0]),
        Result("openvino-layer-fp32", str(layers[1]), error="crashed"),
    ]
    ours, peer = convolutions._totals(layers, results)
    assert (ours.seconds, ours.ratio, ours.share, ours.lowest) == (4.0, 1.0, 0.5, 0.5)
    assert str(ours).endswith("1.00 × bnn_tasks, 50.0 % of the FMA peak over their summed time, 50.0 % the lowest")
    assert str(peer) == "2 float layers, torch-fp32: 12000.000 ms = 3.00 × bnn_tasks"


def test_numbers_out_of_range() -> None:
    with pytest.raises(ValueError, match=rf"in \[1, {cores()}\]"):
        bench_convolutions(threads=cores() + 1)
    with pytest.raises(ValueError, match="at least 1"):
        bench_convolutions(rounds=0)
