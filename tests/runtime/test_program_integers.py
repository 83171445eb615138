"""Sums of binary layers, bit for bit those of a naive twin, over a matrix of shapes."""

from dataclasses import dataclass

import naive
import numpy as np
import pytest
from graphs import node, open_graph, pack_weight, signs
from program_cases import accumulate, needs_kernels

from bnn_tasks.runtime.format import Graph

pytestmark = needs_kernels

CHANNELS = [1, 2, 3, 8, 16, 31, 33, 48, 63, 64, 65, 100, 127, 128, 129, 192, 200, 256, 257]
OUTPUTS = [1, 5, 16, 17, 32, 48, 64, 65, 130]
WIDTHS = [1, 2, 3, 4, 5, 7, 13, 16, 33, 57, 64, 65, 70]
HEIGHTS = [1, 2, 3, 5, 8]
GROUPS = [1, 1, 1, 1, 2, 3, 4, "depthwise"]
PRODUCTS = 8_000_000  # of a case, at most


@dataclass(frozen=True)
class Case:
    channels: int
    outputs: int
    groups: int
    height: int
    width: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    pad_value: int
    batch: int

    @property
    def size(self) -> tuple[int, int]:
        sides = (self.height, self.width)
        reach = [sides[i] + 2 * self.padding[i] - self.dilation[i] * (self.kernel[i] - 1) - 1 for i in (0, 1)]
        return reach[0] // self.stride[0] + 1, reach[1] // self.stride[1] + 1

    @property
    def products(self) -> int:
        taps = self.channels // self.groups * self.kernel[0] * self.kernel[1]
        return self.outputs * taps * self.size[0] * self.size[1]


def draw(rng: np.random.Generator) -> Case:
    def pick(options):
        return options[int(rng.integers(len(options)))]

    def pair(low, high):
        first, second = (int(n) for n in rng.integers(low, high + 1, 2))
        return (first, first) if rng.random() < 0.4 else (first, second)

    channels, outputs, groups = pick(CHANNELS), pick(OUTPUTS), pick(GROUPS)
    if groups == "depthwise":
        groups, outputs = channels, channels * pick([1, 2])
    elif groups > 1:  # of a group
        channels, outputs = pick([c for c in CHANNELS if c <= 129]) * groups, outputs * groups
    return Case(
        channels, outputs, groups, pick(HEIGHTS), pick(WIDTHS), pair(1, 7), pair(1, 3), pair(0, 3), pair(1, 3),
        pick([0, 1, -1]), int(rng.integers(1, 6)),
    )  # fmt: skip


def cases(seed: int, count: int, products: int) -> list[Case]:
    rng, found = np.random.default_rng(seed), []
    while len(found) < count:
        case = draw(rng)
        if min(case.size) > 0 and case.products <= products:
            found.append(case)
    return found


MATRIX = cases(0, 260, PRODUCTS)


def test_the_matrix_is_full():
    """Each value of each dimension occurs."""
    assert {c.channels for c in MATRIX} >= set(CHANNELS)
    assert {c.outputs for c in MATRIX} >= set(OUTPUTS)
    assert {c.width for c in MATRIX} == set(WIDTHS)
    assert {c.height for c in MATRIX} == set(HEIGHTS)
    assert {c.groups for c in MATRIX} >= {1, 2, 3, 4}
    assert any(c.groups == c.channels > 4 for c in MATRIX)
    for name, low, high in [("kernel", 1, 7), ("stride", 1, 3), ("padding", 0, 3), ("dilation", 1, 3)]:
        for axis in (0, 1):
            assert {getattr(c, name)[axis] for c in MATRIX} == set(range(low, high + 1)), name
    assert {(c.pad_value, any(c.padding)) for c in MATRIX} == {(p, b) for p in (0, 1, -1) for b in (True, False)}
    assert {c.batch for c in MATRIX} == {1, 2, 3, 4, 5}


def attrs_of(case: Case) -> dict:
    pairs = {name: [*getattr(case, name)] for name in ("kernel", "stride", "padding", "dilation")}
    return {"channels": case.channels, "groups": case.groups, "pad_value": case.pad_value, **pairs}


def geometry(case: Case) -> tuple:
    return case.stride, case.padding, case.dilation, case.groups, case.pad_value


@pytest.mark.parametrize("index", range(len(MATRIX)))
def test_sums(tmp_path, index):
    """Raw, through `forward`, and as bits by thresholds."""
    case = MATRIX[index]
    rng = np.random.default_rng(index)
    x = signs(rng, case.batch, case.channels, case.height, case.width)
    w = signs(rng, case.outputs, case.channels // case.groups, *case.kernel)
    spread = int(np.sqrt(w[0].size)) + 1
    tensors = {
        "w": pack_weight(w),
        "t": rng.integers(-spread, spread + 1, case.outputs, dtype=np.int32),
        "f": rng.integers(0, 2, case.outputs, dtype=np.uint8),
    }
    attrs = attrs_of(case)
    nodes = (
        node("bits", "sign", "images", {"groups": case.groups}),
        node("sums", "binary_conv2d", "bits", attrs, weight="w"),
        node("above", "binary_conv2d", "bits", {**attrs, "out_groups": 1}, weight="w", threshold="t", flip="f"),
    )
    session = open_graph(tmp_path, Graph(nodes, "sums", channels=case.channels), tensors)
    expected = [accumulate(each, w, *geometry(case)) for each in x]
    made = session.forward((x * rng.uniform(0.1, 9, x.shape)).astype(np.float32))
    for each, sums, real in zip(x, expected, made, strict=True):
        np.testing.assert_array_equal(session.accumulate("sums", each), sums)
        np.testing.assert_array_equal(real, sums)
    values = session.values(x[0].astype(np.float32))
    above = (expected[0] >= tensors["t"][:, None, None]) != (tensors["f"][:, None, None] == 1)
    np.testing.assert_array_equal(values["above"] == 1, above)


@pytest.mark.parametrize("case", cases(1, 12, 20_000))
def test_the_twin_is_right(case):
    """Against plain loops."""
    rng = np.random.default_rng(0)
    x = signs(rng, case.channels, case.height, case.width)
    w = signs(rng, case.outputs, case.channels // case.groups, *case.kernel)
    np.testing.assert_array_equal(accumulate(x, w, *geometry(case)), naive.accumulate(x, w, *geometry(case)))


@pytest.mark.parametrize("features", [1, 63, 64, 65, 129, 1000])
@pytest.mark.parametrize("outputs", [1, 16, 17, 100])
def test_linear(tmp_path, features, outputs):
    rng = np.random.default_rng(features)
    x, w = signs(rng, 3, features), signs(rng, outputs, features)
    nodes = (
        node("flat", "flatten", "images"),
        node("bits", "sign", "flat", {"groups": 1}),
        node("sums", "binary_linear", "bits", {"features": features}, weight="w"),
    )
    session = open_graph(tmp_path, Graph(nodes, "sums", channels=features), {"w": pack_weight(w)})
    expected = x.astype(np.int64) @ w.astype(np.int64).T
    np.testing.assert_array_equal(session.forward(x[:, :, None, None].astype(np.float32)), expected)
    np.testing.assert_array_equal([session.accumulate("sums", each) for each in x], expected)
