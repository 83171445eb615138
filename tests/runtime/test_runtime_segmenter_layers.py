"""Layers that segmenters bring: convolutions with large dilations, joined maps and their means; and hostile files of one."""

import itertools
from collections import Counter
from pathlib import Path

import mutate
import numpy as np
import pytest
from graphs import GEOMETRY, floats, node, open_graph, pack_weight, signs
from test_runtime_segmentation import a_graph

from bnn_tasks.runtime import Session
from bnn_tasks.runtime.format import Graph, save


def test_mutants(tmp_path: Path) -> None:
    """Damaged and hostile files each load, or are refused by name."""
    save(tmp_path / "artifact", *a_graph())
    data = (tmp_path / "artifact").read_bytes()
    results: Counter[str] = Counter()
    for _, mutant in itertools.islice(mutate.mutants(data, seed=0), 400):
        result = mutate.try_mutant(tmp_path / "mutant", mutant)
        results[result] += 1
        if result == "ran" and (session := Session(tmp_path / "mutant")).graph.results:
            session([np.zeros((9, 7, 3), np.uint8)])
    assert results["refused"] > 200
    assert results["ran"] > 5


@pytest.mark.parametrize("rates", [(2, 24), (3, 7)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(5, 9), (20, 15), (3, 150)])
@pytest.mark.parametrize("threads", [1, 2])
def test_dilated_convolutions_keep_to_their_taps(
    tmp_path: Path, rates: tuple[int, int], stride: int, size: tuple[int, int], threads: int
) -> None:
    """Binary ones exactly, real ones but for rounding; by loops over taps. Their rows are gathered a band a tap."""
    rng = np.random.default_rng(5)
    geometry = {"stride": [stride, stride], "padding": [*rates], "dilation": [*rates], "groups": 1}
    binary = {"channels": 72, "kernel": [3, 3], "pad_value": 0, **geometry}
    nodes = (
        node("sign", "sign", "images", {"groups": 1}),
        node("bits", "binary_conv2d", "sign", binary, weight="bits.w"),
        node("real", "conv2d", "images", geometry, weight="real.w"),
    )
    w, real = signs(rng, 20, 72, 3, 3), floats(rng, 20, 72, 3, 3)
    graph = Graph(nodes, ["bits", "real"], channels=72)
    session = open_graph(tmp_path, graph, {"bits.w": pack_weight(w), "real.w": real}, threads)
    x = floats(rng, 72, *size)
    found = [y[0] for y in session.forward(x[None])]
    expected = [np.zeros_like(y, np.float64) for y in found]
    for out, weight, values in ((expected[0], w, np.where(x >= 0, 1, -1)), (expected[1], real, x)):
        for y, column, ky, kx in np.ndindex(*out.shape[1:], 3, 3):
            iy, ix = y * stride + (ky - 1) * rates[0], column * stride + (kx - 1) * rates[1]
            if 0 <= iy < size[0] and 0 <= ix < size[1]:
                out[:, y, column] += weight[:, :, ky, kx].astype(np.float64) @ values[:, iy, ix]
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], atol=2e-4)


@pytest.mark.parametrize("channels", [(3, 64, 20), (128, 128), (7,) * 5])
def test_joined_maps_and_means_of_their_groups(tmp_path: Path, channels: tuple[int, ...]) -> None:
    """What joins an ASPP's branches: written side by side, then averaged group by group on the way to a sum."""
    rng = np.random.default_rng(6)
    parts = [node(f"p{i}", "conv2d", "images", GEOMETRY, weight=f"w{i}") for i in range(len(channels))]
    tensors = {f"w{i}": floats(rng, count, 3, 3, 3) for i, count in enumerate(channels)}
    nodes = [*parts, node("all", "concat", " ".join(part.name for part in parts))]
    outputs = ["all", *(part.name for part in parts)]
    if len(set(channels)) == 1:
        nodes += [node("mean", "channel_group_mean", "all", {"channels": channels[0]}), node("y", "relu", "mean")]
        outputs.append("y")
    session = open_graph(tmp_path, Graph(tuple(nodes), outputs), tensors)
    whole, *rest = (y[0] for y in session.forward(floats(rng, 1, 3, 11, 13)))
    made = rest[: len(channels)]
    np.testing.assert_array_equal(whole, np.concatenate(made))
    if len(set(channels)) == 1:
        total = made[0].copy()
        for other in made[1:]:
            total += other
        np.testing.assert_array_equal(rest[-1], np.maximum(total / np.float32(len(channels)), 0))
