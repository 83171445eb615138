"""Region proposals against torchvision's RegionProposalNetwork, and ties, ends and bad input by hand."""

import math

import numpy as np
import pytest
import torch
from graphs import floats, node, open_graph
from test_runtime_boxes import random_boxes
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.rpn import RegionProposalNetwork

from bnn_tasks.runtime import detection
from bnn_tasks.runtime.errors import ArtifactError
from bnn_tasks.runtime.format import Graph
from bnn_tasks.runtime.proposals import largest, propose

CODING = {"weights": [1.0, 1.0, 1.0, 1.0], "clip": math.log(1000 / 16)}
SIZES = [(12, 16), (6, 8), (3, 4)]
CANVAS = (96, 128)


def a_network(rng, anchors_a_cell=3):
    """Anchors, objectness and deltas of three levels."""
    boxes = random_boxes(rng, sum(h * w for h, w in SIZES) * anchors_a_cell, 100)
    logits = [floats(rng, h, w, anchors_a_cell) for h, w in SIZES]
    deltas = [0.5 * floats(rng, h, w, 4 * anchors_a_cell) for h, w in SIZES]
    return boxes, logits, deltas


def torchvision_proposals(boxes, logits, deltas, top_k, iou, min_size, count):
    """What torchvision's network makes of the same maps."""
    network = RegionProposalNetwork(
        None, None, 0.5, 0.5, 1, 0.5,
        {"training": top_k, "testing": top_k}, {"training": count, "testing": count}, iou,
    ).eval()  # fmt: skip
    network.min_size = min_size
    rows = torch.tensor(np.concatenate([d.reshape(-1, 4) for d in deltas]))
    decoded = BoxCoder((1.0, 1.0, 1.0, 1.0)).decode_single(rows, torch.tensor(boxes))
    flat = torch.tensor(np.concatenate([level.reshape(-1) for level in logits]))
    kept, _ = network.filter_proposals(decoded[None], flat[None], [CANVAS], [level.size for level in logits])
    return kept[0].numpy()


@pytest.mark.parametrize("top_k", [20, 10_000])
@pytest.mark.parametrize(("iou", "min_size", "count"), [(0.7, 0.0, 50), (0.3, 10.0, 2000)])
def test_follows_torchvision(top_k, iou, min_size, count):
    boxes, logits, deltas = a_network(np.random.default_rng(0))
    found = propose(boxes, logits, deltas, **CODING, top_k=top_k, iou_threshold=iou, min_size=min_size,
                    max_proposals=count, canvas=CANVAS)  # fmt: skip
    expected = torchvision_proposals(boxes, logits, deltas, top_k, iou, min_size, count)
    assert found.shape == (count, 4)
    assert found.dtype == np.float32
    assert 10 < len(expected) <= count
    np.testing.assert_allclose(found[: len(expected)], expected, rtol=1e-5, atol=1e-3)
    np.testing.assert_array_equal(found[len(expected) :], 0)


def in_order(boxes, logits, **attrs):
    """Proposals of levels of one row each, whose boxes are their anchors."""
    given = {"top_k": 100, "iou_threshold": 0.5, "min_size": 0.0, "max_proposals": 5} | attrs
    maps = [np.array(level, np.float32).reshape(1, -1, 1) for level in logits]
    still = [np.zeros((1, level.shape[1], 4), np.float32) for level in maps]
    return propose(np.array(boxes, np.float32), maps, still, **CODING, **given, canvas=(50, 50))


FAR = [[0, 0, 4, 4], [10, 0, 14, 4], [20, 0, 24, 4], [30, 0, 34, 4]]


def test_ties_go_to_the_lower_index_and_level():
    np.testing.assert_array_equal(in_order(FAR, [[1, 1], [1, 1]], max_proposals=3), FAR[:3])
    np.testing.assert_array_equal(in_order(FAR, [[0, 1], [1, 0]], max_proposals=4), [FAR[i] for i in (1, 2, 0, 3)])
    np.testing.assert_array_equal(in_order(FAR, [[1, 1, 1, 1]], top_k=2)[:3], [*FAR[:2], [0, 0, 0, 0]])


def test_levels_do_not_suppress_each_other():
    same = [FAR[0]] * 3
    np.testing.assert_array_equal(in_order(same, [[3, 2], [1]], max_proposals=3), [FAR[0], FAR[0], [0, 0, 0, 0]])


def test_small_boxes_go_after_top_k():
    boxes = [[0, 0, 4, 4], [10, 0, 14, 1.5], [48, 0, 60, 4], *FAR[2:3]]  # the third reaches 2 px into the canvas
    found = in_order(boxes, [[1, 3, 2, 0]], min_size=2.0)
    np.testing.assert_array_equal(found[:3], [[48, 0, 50, 4], boxes[0], boxes[3]])
    np.testing.assert_array_equal(in_order(boxes, [[1, 3, 2, 0]], min_size=2.0, top_k=1), 0)


@pytest.mark.parametrize("count", [1, 7, 99, 100, 200])
def test_largest_is_a_stable_sort(count):
    rng = np.random.default_rng(0)
    for values in (rng.integers(0, 5, 100), rng.standard_normal(100), np.full(100, -np.inf)):
        values = values.astype(np.float32)
        expected = sorted(range(100), key=lambda i: -values[i])[:count]
        np.testing.assert_array_equal(largest(values, count), expected)


ATTRS = {**CODING, "top_k": 30, "iou_threshold": 0.7, "min_size": 1.0, "max_proposals": 40}


def a_graph(attrs=ATTRS, inputs="anchors objectness images deltas deltas"):
    """A graph whose image is the objectness map of a second level, at 5×6."""
    plain = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
    nodes = (
        node("objectness", "conv2d", "images", plain, weight="w1"),
        node("deltas", "conv2d", "images", plain, weight="w4"),
        node("anchors", "anchors", "objectness images", {"strides": [[1, 1], [1, 1]]}, base="base"),
        node("regions", "proposals", inputs, attrs),
    )
    rng = np.random.default_rng(0)
    tensors = {"w1": floats(rng, 1, 1, 1, 1), "w4": 0.1 * floats(rng, 4, 1, 1, 1)}
    tensors["base"] = np.array([[[-2, -2, 2, 2]], [[-3, -1, 3, 1]]], np.float32)
    return Graph(nodes, "regions", channels=1), tensors


def test_as_a_node(tmp_path):
    session = open_graph(tmp_path, *a_graph())
    image = floats(np.random.default_rng(1), 1, 5, 6)
    values = session.values(image)
    maps = [values[name].transpose(1, 2, 0) for name in ("objectness", "images", "deltas", "deltas")]
    expected = propose(values["anchors"], maps[:2], maps[2:], **ATTRS, canvas=(5, 6))
    assert (expected[3] != 0).any()
    np.testing.assert_array_equal(session.forward(image[None])[0], expected)
    with pytest.raises(ValueError, match="NaN"):
        session.forward(np.full_like(image, np.nan)[None])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": "anchors objectness images deltas"}, "as many delta maps"),
        ({"inputs": "anchors objectness images deltas objectness"}, "four deltas"),
        ({"inputs": "anchors objectness deltas"}, "boxes, one for each cell"),
        ({"inputs": "images objectness images deltas deltas"}, "boxes, one for each cell"),
        ({"attrs": ATTRS | {"top_k": 10_001}}, "`top_k` × levels"),
        ({"attrs": ATTRS | {"top_k": 0}}, "`top_k` to be an integer"),
        ({"attrs": ATTRS | {"max_proposals": 1 << 20}}, "`max_proposals`"),
        ({"attrs": ATTRS | {"min_size": -1}}, "`min_size`"),
        ({"attrs": ATTRS | {"weights": [1, 1, 1]}}, "`weights`"),
        ({"attrs": {k: v for k, v in ATTRS.items() if k != "clip"}}, "`clip` is missing"),
    ],
)
def test_misfits_are_refused_by_name(tmp_path, changes, message):
    with pytest.raises((ArtifactError, ValueError), match=f"node `regions`.*{message}"):
        open_graph(tmp_path, *a_graph(**changes)).plan(5, 6)  # a graph of any size is refused once the size is known


def test_the_deltas_of_infinity_do_no_harm():
    boxes, logits, deltas = a_network(np.random.default_rng(0))
    deltas[0][0] = np.inf
    deltas[1][0] = -np.inf
    with np.errstate(all="ignore"):
        found = propose(boxes, logits, deltas, **ATTRS, canvas=CANVAS)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, detection.clip(found, CANVAS))
