"""The per-layer table against counts by hand."""

import pytest
from graphs import open_graph, tiny_detector, tiny_net

from bnn_tasks.runtime.profile import format_table, profile


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    return open_graph(tmp_path_factory.mktemp("net"), *tiny_net())


def test_rows(session):
    rows = {row.name: row for row in profile(session, (10, 12))}
    assert list(rows) == ["stem", "conv1", "conv2", "head", "(other nodes)", "(header)"]
    pixels = 5 * 6
    assert rows["stem"].flops == 8 * 3 * 9 * pixels
    assert rows["stem"].float_parameters == 8 * 3 * 9 + 8
    assert rows["stem"].bops == rows["stem"].binary_parameters == 0
    assert rows["conv1"].bops == 8 * 8 * 9 * pixels
    assert (rows["conv1"].binary_parameters, rows["conv1"].float_parameters) == (8 * 8 * 9, 16)
    assert (rows["conv1"].binary_weight_bytes, rows["conv1"].scale_bytes) == (8 * 9, 8 * 4 + 8)
    assert rows["conv2"].binary_parameters == 8 * 4 * 9
    assert rows["conv2"].binary_weight_bytes == 8 * 5  # 36 bits fill up 5 bytes
    assert rows["head"].bops == rows["head"].binary_parameters == 40
    assert rows["(other nodes)"].float_parameters == 3 + 3 + 8 + 1


def test_bytes_sum_up_to_the_file(session, tmp_path):
    for opened in (session, open_graph(tmp_path, *tiny_detector())):
        rows = profile(opened.path, (32, 32))
        with open(opened.path, "rb") as file:
            assert sum(row.bytes for row in rows) == len(file.read())


def test_shared_tensors_count_once(tmp_path):
    rows = {row.name: row for row in profile(open_graph(tmp_path, *tiny_detector()), (32, 48))}
    assert rows["p0.cls"].float_parameters == 4 * 8 * 9 + 4
    assert rows["p1.cls"].float_parameters == rows["p1.cls"].bytes == 0
    assert rows["p1.cls"].flops * 4 == rows["p0.cls"].flops


def test_table(session):
    rows = profile(session, (10, 12))
    text = format_table(rows)
    binary, real = sum(r.bops for r in rows), sum(r.flops for r in rows)
    assert f"1-bit: {100 * binary / (binary + real):.1f} %" in text
    assert f"= {real + binary / 64:,.0f}" in text
    assert "binary weights 117, float weights 896, BatchNorm, scales and thresholds 204" in text
    lines = text.splitlines()
    assert len({len(line) for line in lines[: len(rows) + 3]}) == 1


def test_a_size_the_network_cannot_take(tmp_path):
    graph, tensors = tiny_detector()
    with pytest.raises(ValueError, match="sides in"):
        profile(open_graph(tmp_path, graph, tensors), (9000, 8))
