"""Every tile of every kind of convolution, in every block it fits, whatever would be chosen."""

import numpy as np
import pytest
from graphs import floats, node, open_graph, pack_weight, signs
from program_cases import accumulate, needs_kernels

from bnn_tasks.runtime.format import Graph
from bnn_tasks.runtime.program import layers, layout
from bnn_tasks.runtime.program.tiling import BLOCK_LANES, TILES, best_tile, block_lanes, chunks, share_blocks
from bnn_tasks.runtime.simd import record as r

FITTING = [
    (kind, tile, lanes) for kind, tiles in TILES.items() for tile in tiles for lanes in BLOCK_LANES if lanes % tile.lanes == 0
]  # fmt: skip
NAMES = {r.XNOR: "xnor", r.FLOAT: "float", r.SIGNED: "signed"}
# input channels, output channels, groups, height, width, kernel, stride, padding, dilation
SHAPES = [
    (65, 64, 1, 3, 13, (3, 3), (1, 1), (1, 1), (1, 1)),
    (16, 37, 1, 1, 70, (1, 3), (1, 2), (0, 1), (1, 1)),
    (6, 130, 2, 9, 11, (2, 3), (1, 1), (1, 2), (1, 2)),
    (3, 5, 1, 2, 1, (2, 1), (1, 1), (0, 0), (1, 1)),
    (130, 48, 1, 4, 5, (1, 1), (1, 1), (0, 0), (1, 1)),
]


def test_each_tile_fits_somewhere():
    assert {(kind, tile.index) for kind, tile, _ in FITTING} == {(k, t.index) for k, ts in TILES.items() for t in ts}
    for tiles in TILES.values():
        assert max(tile.positions for tile in tiles) <= r.SPARE
        assert [tile.index for tile in tiles] == list(range(len(tiles)))


@pytest.fixture
def force(monkeypatch):
    def to(tile, lanes):
        monkeypatch.setattr(layers, "best_tile", lambda *arguments: tile)
        monkeypatch.setattr(layout, "block_lanes", lambda channels: lanes)

    return to


def layer_of(kind, rng, shape):
    """Nodes, tensors, and the weight as (O, I, kh, kw) small integers: sums of integers are exact in float32."""
    channels, outputs, groups, _, _, kernel, stride, padding, dilation = shape
    attrs = {"stride": [*stride], "padding": [*padding], "dilation": [*dilation], "groups": groups}
    if kind == r.FLOAT:
        w = rng.integers(-3, 4, (outputs, channels // groups, *kernel)).astype(np.float32)
        return [node("y", "conv2d", "images", attrs, weight="w")], {"w": w}, w
    w = signs(rng, outputs, channels // groups, *kernel)
    attrs |= {"channels": channels, "kernel": [*kernel], "pad_value": 0}
    if kind == r.SIGNED:
        return [node("y", "binary_weight_conv2d", "images", attrs, weight="w")], {"w": pack_weight(w)}, w
    bits = node("bits", "sign", "images", {"groups": groups})
    return [bits, node("y", "binary_conv2d", "bits", attrs, weight="w")], {"w": pack_weight(w)}, w


@needs_kernels
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("kind", "tile", "lanes"), FITTING, ids=lambda v: NAMES.get(v, str(v)) if type(v) is int else ""
)
def test_sums_of_integers(tmp_path, force, kind, tile, lanes, shape):
    """Exact, so that they equal an independent sum bit for bit."""
    channels, _, groups, height, width, _, stride, padding, dilation = shape
    rng = np.random.default_rng(0)
    nodes, tensors, w = layer_of(kind, rng, shape)
    force(tile, lanes)
    session = open_graph(tmp_path, Graph(tuple(nodes), "y", channels=channels), tensors)
    x = signs(rng, 2, channels, height, width)
    x = x if kind == r.XNOR else x * rng.integers(0, 5, x.shape, dtype=np.int8)
    expected = [accumulate(each, w, stride, padding, dilation, groups, 0) for each in x]
    np.testing.assert_array_equal(session.forward(x.astype(np.float32)), expected)
    if kind == r.XNOR:
        np.testing.assert_array_equal(session.accumulate("y", x[0]), expected[0])


@needs_kernels
@pytest.mark.parametrize(("kind", "tile", "lanes"), [f for f in FITTING if f[0] != r.XNOR])
def test_sums_of_real_values(tmp_path, force, kind, tile, lanes):
    shape = (40, 70, 2, 7, 9, (3, 3), (1, 1), (1, 1), (1, 1))
    rng = np.random.default_rng(1)
    nodes, tensors, _ = layer_of(kind, rng, shape)
    if kind == r.FLOAT:
        tensors["w"] = floats(rng, *tensors["w"].shape)
    force(tile, lanes)
    session = open_graph(tmp_path, Graph(tuple(nodes), "y", channels=40), tensors)
    image = floats(rng, 7, 9, 40)
    made = session.engine.run(image, ["y"])["y"]
    expected = session.engine.run_by_node(image.astype(np.float64), ["y"])["y"]
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("kind", TILES, ids=lambda kind: NAMES[kind])
def test_the_best_tile_fits(kind):
    """For every block and many widths; scratch has room for the chunk and what a tile computes past it."""
    for lanes in BLOCK_LANES:
        for width in [*range(1, 200), 4097, 8192]:
            for height in (1, 2, 3, 7, 56, 100):
                tile = best_tile(kind, lanes, height * width, width)
                assert lanes % tile.lanes == 0
                chunk, _, _ = chunks(height * width, width)
                assert chunk <= r.MAX_CHUNK


def test_chunks_cover_a_map_once():
    for width in [*range(1, 200), 4097, 8192]:
        for height in (1, 2, 3, 7, 56):
            chunk, pieces, count = chunks(height * width, width)
            if pieces:
                lines = [(i * chunk, min((i + 1) * chunk, width)) for i in range(pieces)]
                spans = [(y * width + start, y * width + stop) for y in range(height) for start, stop in lines]
            else:
                assert chunk % width == 0
                spans = [(i * chunk, min((i + 1) * chunk, height * width)) for i in range(count)]
            assert len(spans) == count
            assert all(start < stop for start, stop in spans)
            assert [0, *(stop for _, stop in spans)] == [*(start for start, _ in spans), height * width]


def test_blocks_hold_all_channels_and_waste_little():
    for channels in range(1, 600):
        lanes = block_lanes(channels)
        assert lanes in BLOCK_LANES
        assert -(-channels // lanes) * lanes - channels < lanes
    assert [block_lanes(channels) for channels in (1, 16, 17, 64, 128, 256)] == [16, 16, 32, 64, 64, 64]


def test_threads_share_what_leaves_them_busy():
    assert share_blocks(chunk_count=1, block_count=8, threads=2)
    assert not share_blocks(chunk_count=49, block_count=1, threads=2)
    assert not share_blocks(chunk_count=4, block_count=4, threads=2)  # chunks, where it makes no difference
