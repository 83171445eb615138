"""RoIAlign against torchvision's, box by box and over a pyramid."""

import numpy as np
import pytest
import torch
from graphs import floats, node, open_graph
from test_runtime_boxes import random_boxes
from torchvision.ops import roi_align as torchvision_roi_align
from torchvision.ops.poolers import LevelMapper

from bnn_tasks.runtime.errors import ArtifactError
from bnn_tasks.runtime.format import Graph
from bnn_tasks.runtime.roi_align import assign_levels, roi_align
from bnn_tasks.runtime.simd import bilinear

HUGE = float(np.finfo(np.float32).max)


def as_torch(maps):
    return [torch.tensor(m).permute(2, 0, 1)[None] for m in maps]


@pytest.mark.parametrize("output_size", [1, 7])
@pytest.mark.parametrize("sampling_ratio", [1, 2, 3])
@pytest.mark.parametrize("stride", [4, 8, 10])
def test_one_level_follows_torchvision(output_size, sampling_ratio, stride):
    rng = np.random.default_rng(0)
    feature = floats(rng, 9, 13, 5)
    inside = random_boxes(rng, 30, 9 * stride)
    outside = inside + rng.uniform(-60, 60, (30, 1)).astype(np.float32)  # samples beyond every border
    boxes = np.concatenate([inside, outside, [[0, 0, 13 * stride, 9 * stride], [3, 3, 3.25, 3.25]]]).astype(np.float32)
    found = roi_align(boxes, [feature], [stride], output_size, sampling_ratio, 0, 224)
    expected = torchvision_roi_align(
        as_torch([feature])[0], [torch.tensor(boxes)], output_size, 1 / stride, sampling_ratio, aligned=True
    )
    np.testing.assert_allclose(found, expected.permute(0, 2, 3, 1).numpy(), rtol=1e-5, atol=1e-5)


def test_levels_follow_torchvision():
    rng = np.random.default_rng(0)
    sides = np.concatenate(
        [rng.uniform(1, 900, (200, 2)), np.repeat([[14], [28], [56], [112], [224], [448]], 2, axis=1)]
    )
    boxes = np.concatenate([np.zeros_like(sides), sides], axis=1).astype(np.float32)
    expected = LevelMapper(2, 5, 224, 4)([torch.tensor(boxes)]).numpy()
    assert set(expected) == {0, 1, 2, 3}
    np.testing.assert_array_equal(assign_levels(boxes, 4, 2, 224), expected)


@pytest.mark.parametrize(("canonical_level", "level"), [(-64, 0), (64, 2), (1, 1)])
def test_canonical_level_may_lie_outside_the_pyramid(canonical_level, level):
    boxes = np.array([[0, 0, 100, 100]], np.float32)
    np.testing.assert_array_equal(assign_levels(boxes, 3, canonical_level, 100), [level])


def test_a_pyramid_follows_torchvision():
    rng = np.random.default_rng(0)
    maps = [floats(rng, 64 // 2**i, 96 // 2**i, 6) for i in range(3)]  # of a canvas of 256 × 384
    boxes = np.concatenate([random_boxes(rng, 20, side) for side in (20.0, 80.0, 240.0)])
    found = roi_align(boxes, maps, [4, 8, 16], 3, 2, 1, 24)
    level = assign_levels(boxes, 3, 1, 24)
    assert set(level) == {0, 1, 2}
    for index, stride in enumerate((4, 8, 16)):
        mine = level == index
        expected = torchvision_roi_align(
            as_torch(maps)[index], [torch.tensor(boxes[mine])], 3, 1 / stride, 2, aligned=True
        )
        np.testing.assert_allclose(found[mine], expected.permute(0, 2, 3, 1).numpy(), rtol=1e-5, atol=1e-5)


def test_boxes_without_area_give_zeros():
    boxes = np.array([[0, 0, 0, 0], [5, 5, 5, 9], [5, 5, 9, 5], [9, 9, 5, 5], [1, 1, 9, 9]], np.float32)
    found = roi_align(boxes, [np.ones((4, 4, 2), np.float32), np.ones((2, 2, 2), np.float32)], [4, 8], 2, 2, 1, 8)
    np.testing.assert_array_equal(found[:4], 0)
    np.testing.assert_array_equal(found[4], 1)


def test_boxes_of_any_size_do_no_harm():
    far = [[-HUGE, -HUGE, HUGE, HUGE], [-np.inf, 0, np.inf, 9], [1e30, 1e30, 2e30, 2e30], [-1e9, -1e9, 1e9, 1e9]]
    with np.errstate(all="ignore"):
        found = roi_align(np.array(far, np.float32), [np.ones((4, 4, 3), np.float32)], [4], 2, 2, 0, 8)
    np.testing.assert_array_equal(found, 0)


def test_kernel_is_plain_python_too():
    rng = np.random.default_rng(0)
    feature, rows = floats(rng, 5, 6, 3), np.array([2, 0])
    places = [rng.integers(0, side, (2, 4, 2)) for side in (5, 6)]
    weights = [rng.random((2, 4, 2), np.float32) for _ in range(2)]
    compiled, plain = np.zeros((2, 3, 2, 2, 3), np.float32)
    bilinear.add_samples(feature, *places, *weights, 2, rows, compiled)
    for n, i, j in np.ndindex(2, 4, 4):
        for a, b in np.ndindex(2, 2):
            weight = weights[0][n, i, a] * weights[1][n, j, b]
            plain[rows[n], i // 2, j // 2] += weight * feature[places[0][n, i, a], places[1][n, j, b]]
    np.testing.assert_allclose(compiled, plain, rtol=1e-5)


ATTRS = {"strides": [4, 8], "output_size": 2, "sampling_ratio": 2, "canonical_level": 1, "canonical_size": 16}


def a_graph(attrs=ATTRS, inputs="anchors images half"):
    """Anchors of a 3-channel image of stride 4 and its half, and the features under them."""
    pool = {"kernel": [2, 2], "stride": [2, 2], "padding": [0, 0], "ceil_mode": False, "count_include_pad": False}
    conv = {"stride": [2, 2], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
    nodes = (
        node("half", "avg_pool2d", "images", pool),
        node("other", "conv2d", "images", conv, weight="w"),
        node("anchors", "anchors", "half", {"strides": [[8, 8]]}, base="base"),
        node("aligned", "roi_align", inputs, attrs),
    )
    base = np.array([[[-6, -5, 6, 5], [-20, -20, 21, 21], [0, 0, 0, 0]]], np.float32)
    return Graph(nodes, ["aligned", "other"]), {"base": base, "w": np.ones((2, 3, 2, 2), np.float32)}


def test_channels_of_the_node(tmp_path):
    """Bins row by row, channels innermost: what a 1 × 1 convolution takes for a fully connected layer."""
    session = open_graph(tmp_path, *a_graph())
    values = session.values(floats(np.random.default_rng(0), 3, 6, 8))
    features = [values[name].transpose(1, 2, 0) for name in ("images", "half")]
    expected = roi_align(values["anchors"], features, **ATTRS)  # (R, y, x, c)
    assert values["aligned"].shape == (2 * 2 * 3, 3 * 4 * 3, 1)
    for y, x, c in np.ndindex(2, 2, 3):
        np.testing.assert_array_equal(values["aligned"][(y * 2 + x) * 3 + c, :, 0], expected[:, y, x, c])
    assert (expected != 0).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": "images images half"}, "boxes as first input"),
        ({"inputs": "anchors images"}, "2 feature maps"),
        ({"inputs": "anchors images other"}, "one channel count"),
        ({"attrs": ATTRS | {"strides": []}}, "`strides`"),
        ({"attrs": ATTRS | {"strides": [4, 0]}}, "`strides`"),
        ({"attrs": ATTRS | {"output_size": 0}}, "`output_size`"),
        ({"attrs": ATTRS | {"output_size": 1000}}, "at most .* channels"),
        ({"attrs": ATTRS | {"sampling_ratio": 0}}, "`sampling_ratio`"),
        ({"attrs": ATTRS | {"canonical_level": 1.5}}, "`canonical_level`"),
        ({"attrs": ATTRS | {"canonical_size": 0}}, "`canonical_size`"),
    ],
)
def test_misfits_are_refused_by_name(tmp_path, changes, message):
    with pytest.raises(ArtifactError, match=f"node `aligned`.*{message}"):
        open_graph(tmp_path, *a_graph(**changes))
