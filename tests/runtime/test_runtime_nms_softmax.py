"""Suppression of softmax scores with a background against torchvision's batched_nms and plain readings."""

import numpy as np
import pytest
import torch
from graphs import floats, node, open_graph
from test_runtime_boxes import random_boxes
from torchvision.ops import batched_nms

from bnn_tasks.runtime import detection
from bnn_tasks.runtime.errors import ArtifactError
from bnn_tasks.runtime.format import Graph, Node

CANVAS = (40, 60)


def straight(boxes, logits, classes, threshold, top_k, iou, limit):
    """Softmax, per level the best candidates, torchvision's suppression within a class."""
    height, width = CANVAS
    boxes = torch.tensor(boxes).clamp(torch.zeros(4), torch.tensor([width, height, width, height], dtype=torch.float32))
    chosen, first = [], 0
    for level in logits:
        rows = torch.softmax(torch.tensor(level.reshape(-1, classes + 1)), dim=1)[:, :classes].reshape(-1)
        sides = boxes[first : first + len(rows) // classes, 2:] - boxes[first : first + len(rows) // classes, :2]
        fit = (rows > threshold) & (sides.prod(dim=1) > 0).repeat_interleave(classes)
        index = fit.nonzero()[:, 0]
        index = index[rows[index].argsort(descending=True, stable=True)][:top_k]
        chosen.append((boxes[first + index // classes], rows[index], index % classes))
        first += len(rows) // classes
    found, scores, labels = (torch.cat(values) for values in zip(*chosen, strict=True))
    keep = batched_nms(found, scores, labels, iou)[:limit]
    return found[keep].numpy(), scores[keep].numpy(), labels[keep].numpy()


@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize(("top_k", "limit"), [(1000, 1000), (20, 15)])
@pytest.mark.parametrize("anchors", [1, 3])
def test_follows_torchvision(classes, top_k, limit, anchors):
    rng = np.random.default_rng(0)
    logits = [2 * floats(rng, h, w, anchors * (classes + 1)) for h, w in [(8, 9), (4, 5)]]
    boxes = random_boxes(rng, (72 + 20) * anchors, 55)
    boxes[::7] = 0  # what fills up a list of proposals
    found = detection.nms_softmax(boxes, logits, classes, 0.1, top_k, 0.4, limit, CANVAS)
    expected = straight(boxes, logits, classes, 0.1, top_k, 0.4, limit)
    assert 10 < len(expected[0]) <= limit
    np.testing.assert_array_equal(found.boxes, expected[0])
    np.testing.assert_allclose(found.scores, expected[1], rtol=1e-5)
    np.testing.assert_array_equal(found.labels, expected[2])
    assert (found.boxes.dtype, found.scores.dtype, found.labels.dtype) == (np.float32, np.float32, np.int64)


def test_the_background_is_last_and_never_found():
    logits = np.array([[[9, 0, 0]], [[0, 9, 0]], [[0, 0, 9]]], np.float32)
    boxes = np.array([[0, 0, 4, 4], [10, 0, 14, 4], [20, 0, 24, 4]], np.float32)
    found = detection.nms_softmax(boxes, [logits], 2, 0.5, 10, 0.5, 10, CANVAS)
    np.testing.assert_array_equal(found.boxes, boxes[:2])
    np.testing.assert_array_equal(found.labels, [0, 1])


def test_nothing_without_area_within_the_canvas():
    boxes = np.array([[0, 0, 0, 0], [70, 0, 80, 9], [5, 5, 5, 9], [9, 9, 5, 12], [55, 5, 70, 9]], np.float32)
    found = detection.nms_softmax(boxes, [np.zeros((5, 1, 2), np.float32)], 1, 0.1, 10, 0.5, 10, CANVAS)
    np.testing.assert_array_equal(found.boxes, [[55, 5, 60, 9]])
    np.testing.assert_array_equal(found.scores, [0.5])


def test_a_score_must_be_above_the_threshold():
    boxes = np.array([[0, 0, 4, 4]], np.float32)
    for threshold, count in [(0.5, 0), (0.4999, 1), (0.0, 1), (1.0, 0)]:
        assert (
            len(detection.nms_softmax(boxes, [np.zeros((1, 1, 2), np.float32)], 1, threshold, 9, 0.5, 9, CANVAS))
            == count
        )


def test_large_logits_do_not_overflow():
    boxes = np.array([[0, 0, 4, 4]], np.float32)
    found = detection.nms_softmax(boxes, [np.array([[[3e38, -3e38, 0]]], np.float32)], 2, 0.5, 9, 0.5, 9, CANVAS)
    np.testing.assert_array_equal(found.scores, [1])


ATTRS = {"num_classes": 2, "score_threshold": 0.2, "top_k": 50, "iou_threshold": 0.5, "max_detections": 30}


def a_graph(attrs=ATTRS, inputs="anchors images"):
    nodes = (
        node("anchors", "anchors", "images", {"strides": [[2, 2]]}, base="base"),
        Node("found", "nms_softmax", tuple(inputs.split()), ("boxes", "scores", "labels"), attrs, {}),
        node("end", "relu", "images"),
    )
    return Graph(nodes, "end"), {"base": np.array([[[-2, -2, 2, 2]]], np.float32)}


def test_as_a_node(tmp_path):
    session = open_graph(tmp_path, *a_graph())
    image = floats(np.random.default_rng(0), 3, 5, 6)
    values = session.values(image)
    expected = detection.nms_softmax(values["anchors"], [image.transpose(1, 2, 0)], **ATTRS, canvas=(5, 6))
    assert len(expected) > 3
    np.testing.assert_array_equal(values["boxes"], expected.boxes)
    np.testing.assert_array_equal(values["scores"], expected.scores)
    np.testing.assert_array_equal(values["labels"], expected.labels)
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match=r"node `found` .*finite"):
            session.values(np.full_like(image, bad))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attrs": ATTRS | {"num_classes": 3}}, "multiples of 4"),
        ({"attrs": ATTRS | {"num_classes": 0}}, "`num_classes`"),
        ({"attrs": ATTRS | {"top_k": 20_001}}, "`top_k`"),
        ({"inputs": "anchors images images"}, "Expected 60 boxes"),
        ({"inputs": "images images"}, "boxes, one for each cell"),
    ],
)
def test_misfits_are_refused_by_name(tmp_path, changes, message):
    graph, tensors = a_graph(**changes)
    with pytest.raises((ArtifactError, ValueError), match=f"node `found`.*{message}"):
        open_graph(tmp_path, graph, tensors).plan(5, 6)  # a graph of any size is refused once the size is known
