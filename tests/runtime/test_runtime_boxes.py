"""Anchors, box decoding and suppression against torchvision and plain readings."""

import math

import naive
import numpy as np
import pytest
import torch
from graphs import floats, open_graph, tiny_detector
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import batched_nms

from bnn_tasks.runtime import detection


def random_boxes(rng, count, side=40.0):
    corner = rng.uniform(0, side, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(0.5, side / 2, (count, 2))], axis=1).astype(np.float32)


def test_anchors_one_by_one():
    rng = np.random.default_rng(0)
    base = floats(rng, 2, 3, 4)
    sizes, strides = [(2, 3), (1, 2)], [(8, 4), (16.5, 8)]
    expected = [
        base[level, a] + np.array([(x + 0.5) * sx, (y + 0.5) * sy] * 2, np.float32)
        for level, ((height, width), (sy, sx)) in enumerate(zip(sizes, strides, strict=True))
        for y in range(height)
        for x in range(width)
        for a in range(3)
    ]
    np.testing.assert_allclose(detection.anchors(sizes, strides, base), expected, rtol=1e-6)


def test_decode_follows_torchvision():
    rng = np.random.default_rng(0)
    weights, clip = (10.0, 10.0, 5.0, 5.0), math.log(1000 / 16)
    deltas = [30 * floats(rng, 2, 3, 8), 30 * floats(rng, 1, 1, 8)]
    anchors = random_boxes(rng, 14)
    rows = np.concatenate([d.reshape(-1, 4) for d in deltas])
    expected = BoxCoder(weights, clip).decode_single(torch.tensor(rows), torch.tensor(anchors)).numpy()
    np.testing.assert_allclose(detection.decode_boxes(anchors, deltas, weights, clip), expected, rtol=1e-5, atol=1e-3)


def all_pass(boxes, scores, labels, iou, limit, classes):
    """`nms` on one level whose only confident logits are the given scores."""
    logits = np.full((len(boxes), classes), -50.0)
    logits[np.arange(len(boxes)), labels] = np.log(scores / (1 - scores))
    maps = [logits.astype(np.float32).reshape(len(boxes), 1, classes)]
    return detection.nms(boxes, maps, classes, 1e-6, len(boxes), iou, limit, (1000, 1000))


@pytest.mark.parametrize("iou", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("classes", [1, 3])
def test_nms_follows_torchvision(iou, classes):
    rng = np.random.default_rng(0)
    boxes = random_boxes(rng, 300)
    scores = rng.permutation(np.linspace(0.1, 0.9, 300)).astype(np.float32)
    labels = rng.integers(0, classes, 300)
    keep = batched_nms(*(torch.tensor(v) for v in (boxes, scores, labels)), iou).numpy()
    found = all_pass(boxes, scores, labels, iou, 300, classes)
    np.testing.assert_array_equal(found.boxes, boxes[keep])
    np.testing.assert_array_equal(found.labels, labels[keep])
    np.testing.assert_allclose(found.scores, scores[keep], rtol=1e-5)
    assert (found.boxes.dtype, found.scores.dtype, found.labels.dtype) == (np.float32, np.float32, np.int64)
    first = all_pass(boxes, scores, labels, iou, 7, classes)
    np.testing.assert_array_equal(first.boxes, boxes[keep[:7]])


def test_nms_ties_go_to_the_lower_index():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    found = all_pass(boxes, np.full(3, 0.5), np.zeros(3, np.int64), 0.5, 10, 1)
    np.testing.assert_array_equal(found.boxes, boxes[[0, 2]])


def test_a_box_without_area_within_the_canvas_takes_no_place():
    boxes = np.array([[5, 5, 5, 9], [70, 0, 80, 9], [9, 9, 5, 12], [0, 0, 4, 4], [55, 5, 70, 9]], np.float32)
    logits = np.arange(5, 0, -1, dtype=np.float32).reshape(5, 1, 1)
    found = detection.nms(boxes, [logits[:2], logits[2:]], 1, 0.1, 1, 0.5, 10, (40, 60))
    np.testing.assert_array_equal(found.boxes, [[0, 0, 4, 4]])
    found = detection.nms(boxes, [logits], 1, 0.1, 2, 0.5, 10, (40, 60))
    np.testing.assert_array_equal(found.boxes, [[0, 0, 4, 4], [55, 5, 60, 9]])


def straight_postprocess(boxes, logits, attrs, canvas):
    """RetinaNet's post-processing read line by line."""
    classes, first, candidates = attrs["num_classes"], 0, []
    side = [canvas[1], canvas[0], canvas[1], canvas[0]]
    for level in logits:  # (H, W, A * K)
        rows = level.reshape(-1, classes)
        scores = 1 / (1 + np.exp(-rows.astype(np.float64)))
        level_candidates = [
            (scores[r, k], first + r, k) for r in range(len(rows)) for k in range(classes)
            if scores[r, k] > attrs["score_threshold"]
            and (np.clip(boxes[first + r], 0, side)[2:] > np.clip(boxes[first + r], 0, side)[:2]).all()
        ]  # fmt: skip
        candidates += sorted(level_candidates, key=lambda c: -c[0])[: attrs["top_k"]]
        first += len(rows)
    kept = []
    for score, index, label in sorted(candidates, key=lambda c: -c[0]):
        box = np.clip(boxes[index], 0, side)
        if all(label != k or naive.box_iou(box, b) <= attrs["iou_threshold"] for _, b, k in kept):
            kept.append((score, box, label))
    return kept[: attrs["max_detections"]]


@pytest.mark.parametrize("top_k", [3, 50])
def test_postprocess_of_a_whole_detector(tmp_path, top_k):
    graph, tensors = tiny_detector()
    attrs = graph.nodes[-1].attrs
    attrs["top_k"] = top_k
    session = open_graph(tmp_path, graph, tensors)
    values = session.values(np.random.default_rng(0).random((3, 32, 48), np.float32))
    logits = [values[name].transpose(1, 2, 0) for name in ("p0.cls", "p1.cls")]
    kept = straight_postprocess(values["boxes"], logits, attrs, (32, 48))
    assert kept
    assert len(values["anchors"]) == 2 * (8 * 12 + 4 * 6)
    np.testing.assert_array_equal(values["found.labels"], [k for _, _, k in kept])
    np.testing.assert_allclose(values["found.boxes"], [box for _, box, _ in kept], rtol=1e-6)
    np.testing.assert_allclose(values["found.scores"], [score for score, _, _ in kept], rtol=1e-6)


def test_nothing_found():
    found = detection.nms(random_boxes(np.random.default_rng(0), 4), [np.full((2, 2, 1), -9.0, np.float32)],
                          1, 0.5, 10, 0.5, 10, (50, 50))  # fmt: skip
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)


@pytest.mark.parametrize("threshold", [0.0, 1e-30, 1e-6, 0.05, 0.5, 0.999, 0.99999988, 0.99999994, 1.0])
def test_every_score_above_the_threshold_is_a_candidate(threshold):
    """Only logits near the threshold or above get a sigmoid; which ones count is for the sigmoid to say."""
    rng = np.random.default_rng(0)
    logits = np.concatenate([rng.uniform(-90, 25, 3000), rng.uniform(13, 19, 3000), [np.inf, -np.inf, 0.0]])
    logits = logits.astype(np.float32).reshape(1, -1, 1)
    with np.errstate(over="ignore"):
        scores = np.float32(1) / (np.float32(1) + np.exp(-logits.reshape(-1)))
    boxes = np.tile(np.array([[0, 0, 1, 1]], np.float32), (scores.size, 1))
    found = detection.nms(boxes, [logits], 1, threshold, scores.size, 1.0, scores.size, (1, 1))
    np.testing.assert_array_equal(found.scores, np.sort(scores[scores > np.float32(threshold)])[::-1])
