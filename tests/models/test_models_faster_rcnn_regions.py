"""Between Faster R-CNN's stages: proposals, the features under them, and which are learned from."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from naive import box_iou, box_share
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops.poolers import LevelMapper

from bnn_tasks.models.anchors import Anchors, decode, encode
from bnn_tasks.models.box_sampling import UNCOUNTED, RegionSampler
from bnn_tasks.models.proposals import Proposals
from bnn_tasks.models.roi import PyramidRoIAlign

SIZE = (48, 64)
STRIDES = [8, 16]


def target(*objects: tuple) -> SimpleNamespace:
    """Objects: (box, label), (box, label, ignore) or (box, label, ignore, crowd)."""
    return SimpleNamespace(
        boxes=torch.tensor([o[0] for o in objects], dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor([o[1] for o in objects], dtype=torch.int64),
        ignore=torch.tensor([len(o) > 2 and o[2] for o in objects], dtype=torch.bool),
        crowd=torch.tensor([len(o) > 3 and o[3] for o in objects], dtype=torch.bool),
    )


def dense(seed: int = 0) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Anchors, logits and deltas of one image."""
    torch.manual_seed(seed)
    anchors = Anchors(STRIDES, [[16.0], [32.0]])([torch.empty(1, 6, 8), torch.empty(1, 3, 4)])
    return anchors, [torch.randn(len(a)) for a in anchors], [torch.randn(len(a), 4) / 3 for a in anchors]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "arguments", [{}, {"top_k": 20}, {"count": 5}, {"nms_threshold": 0.3}, {"min_size": 12.0}], ids=str
)
def test_proposals_are_torchvisions(arguments: dict, seed: int) -> None:
    rule = Proposals(**arguments)
    anchors, logits, deltas = dense(seed)
    counts = dict.fromkeys(("training", "testing"), rule.top_k), dict.fromkeys(("training", "testing"), rule.count)
    peer = RegionProposalNetwork(None, None, 0.7, 0.3, 256, 0.5, *counts, rule.nms_threshold)
    peer.min_size = rule.min_size
    boxes = BoxCoder((1.0, 1.0, 1.0, 1.0)).decode_single(torch.cat(deltas), torch.cat(anchors))
    wanted, _ = peer.filter_proposals(boxes[None], torch.cat(logits)[None, :, None], [SIZE], [len(a) for a in anchors])
    found = rule.choose(rule.candidates(anchors, logits, deltas, SIZE))
    assert found.shape == (rule.count, 4)
    real = min(len(wanted[0]), rule.count)
    assert real > 2
    torch.testing.assert_close(found[:real], wanted[0][:real])
    assert not found[real:].any()


def test_without_a_large_box_all_proposals_are_zero() -> None:
    rule = Proposals(min_size=100.0, count=7)
    anchors, logits, deltas = dense()
    assert torch.equal(rule.choose(rule.candidates(anchors, logits, deltas, SIZE)), torch.zeros(7, 4))


def test_weights_of_deltas_are_torchvisions() -> None:
    torch.manual_seed(0)
    weights = (10.0, 10.0, 5.0, 5.0)
    coder = BoxCoder(weights)
    anchors, boxes = (torch.cat([c := torch.rand(9, 2) * 40, c + 1 + torch.rand(9, 2) * 20], dim=1) for _ in "ab")
    deltas = encode(boxes, anchors, weights)
    torch.testing.assert_close(deltas, coder.encode_single(boxes, anchors))
    torch.testing.assert_close(decode(deltas, anchors, weights), boxes)
    torch.testing.assert_close(decode(deltas, anchors, weights), coder.decode_single(deltas, anchors))


def bilinear(x: np.ndarray, at_y: float, at_x: float) -> np.ndarray:
    """Value of (C, h, w) at a place, the border's where it is less than a position outside."""
    height, width = x.shape[1:]
    at_y, at_x = min(max(at_y, 0.0), height - 1), min(max(at_x, 0.0), width - 1)
    y, x0 = int(at_y), int(at_x)
    y1, x1 = min(y + 1, height - 1), min(x0 + 1, width - 1)
    dy, dx = at_y - y, at_x - x0
    top, bottom = x[:, y, x0] * (1 - dx) + x[:, y, x1] * dx, x[:, y1, x0] * (1 - dx) + x[:, y1, x1] * dx
    return top * (1 - dy) + bottom * dy


def test_features_of_regions_are_means_of_samples() -> None:
    torch.manual_seed(0)
    size, samples, channels = 2, 2, 3
    pool = PyramidRoIAlign(STRIDES, size, samples, canonical_size=32.0)
    features = [torch.randn(2, channels, 6, 8), torch.randn(2, channels, 3, 4)]
    boxes = torch.tensor(
        [[[1, 2, 20, 30], [0, 0, 64, 48], [40, 1, 44, 9]], [[5, 5, 37, 37], [0, 0, 0, 0], [3, 3, 11, 40]]]
    ).float()
    found = pool(features, boxes)
    assert found.shape == (2, size * size * channels, 3, 1)
    seen = set()
    for n, r in np.ndindex(2, 3):
        x0, y0, x1, y1 = boxes[n, r].double().tolist()
        if x1 == x0:
            assert not found[n, :, r].any(), "a box without area has no features"
            continue
        level = min(max(math.floor(math.log2(math.sqrt((x1 - x0) * (y1 - y0)) / 16) + 1e-6), 0), 1)
        seen.add(level)
        stride, x = STRIDES[level], features[level][n].double().numpy()
        for by, bx in np.ndindex(size, size):
            total = np.zeros(channels)
            for sy, sx in np.ndindex(samples, samples):
                at_y = y0 / stride - 0.5 + (by + (sy + 0.5) / samples) * (y1 - y0) / stride / size
                at_x = x0 / stride - 0.5 + (bx + (sx + 0.5) / samples) * (x1 - x0) / stride / size
                total += bilinear(x, at_y, at_x)
            row = (by * size + bx) * channels
            np.testing.assert_allclose(found[n, row : row + channels, r, 0], total / samples**2, atol=1e-5)
    assert seen == {0, 1}


def test_levels_are_torchvisions() -> None:
    sides = torch.tensor([1.0, 27.9, 28.0, 55.9, 56, 57, 111.9, 112, 223.9, 224, 447.9, 448, 2000])
    boxes = torch.stack([torch.zeros_like(sides), torch.zeros_like(sides), sides, sides], dim=1)
    for strides in ([4, 8, 16, 32], [8, 16, 32], [16, 32]):
        first = int(math.log2(strides[0]))
        peer = LevelMapper(first, first + len(strides) - 1, canonical_scale=224, canonical_level=4, eps=1e-6)
        assert torch.equal(PyramidRoIAlign(strides, canonical_size=224).levels(boxes), peer([boxes]))


def test_gradients_reach_the_features_that_regions_touch() -> None:
    features = [torch.zeros(1, 1, 6, 8, requires_grad=True), torch.zeros(1, 1, 3, 4, requires_grad=True)]
    PyramidRoIAlign(STRIDES, 2)(features, torch.tensor([[[0.0, 0, 16, 16]]])).sum().backward()
    assert float(features[0].grad[0, 0, :3, :3].sum()) == pytest.approx(4)  # four means, each of weight 1
    assert not features[0].grad[0, 0, 3:].any()


OBJECTS = target(((10, 10, 30, 30), 2), ((40, 5, 60, 40), 0, True), ((0, 30, 12, 48), 1))


def proposals() -> Tensor:
    """20 around each object, 100 anywhere, one without area."""
    torch.manual_seed(0)
    near = OBJECTS.boxes.repeat_interleave(20, dim=0) + torch.randn(60, 4) * 3
    corner = torch.rand(100, 2) * torch.tensor([40.0, 30])
    anywhere = torch.cat([corner, corner + 2 + torch.rand(100, 2) * 20], dim=1)
    return torch.cat([near, anywhere, torch.zeros(1, 4)])[None]


@pytest.mark.parametrize("count", [16, 64, 512])
def test_sampled_regions_are_what_they_are_labelled(count: int) -> None:
    drawn = RegionSampler(count)(proposals(), [OBJECTS], 3)
    assert drawn.boxes.shape == drawn.objects.shape == (1, count, 4)
    boxes, labels, objects = drawn.boxes[0], drawn.labels[0], drawn.objects[0]
    seen = set()
    for box, label, truth in zip(boxes.tolist(), labels.tolist(), objects.tolist()):
        assert box[2] > box[0]
        overlaps = [box_iou(np.array(box), o) for o in OBJECTS.boxes.numpy()]
        best = int(np.argmax(overlaps))
        if label == UNCOUNTED:
            continue
        seen.add(tuple(box))
        if label == 3:
            assert overlaps[best] < 0.5
        else:
            assert overlaps[best] >= 0.5
            assert not OBJECTS.ignore[best]
            assert label == OBJECTS.labels[best]
            assert truth == OBJECTS.boxes[best].tolist()
    counted = int((labels != UNCOUNTED).sum())
    assert len(seen) == counted, "drawn without repetition"
    positives = int(((labels >= 0) & (labels < 3)).sum())
    assert 0 < positives <= count // 4
    if count < 100:
        assert (counted, positives) == (count, count // 4)
    else:
        assert counted < count
        assert {tuple(box) for box in boxes.tolist()} == seen, "what fills up is a repetition"
        assert tuple(OBJECTS.boxes[0].tolist()) in seen, "objects are regions too"


def test_regions_in_a_crowd_are_no_background() -> None:
    crowd = (5, 5, 60, 44)
    truth = target((crowd, 0, True, True), ((10, 10, 30, 30), 2))
    drawn = RegionSampler(512)(proposals(), [truth], 3)
    boxes, labels = drawn.boxes[0].numpy(), drawn.labels[0].numpy()
    assert {tuple(box) for box in boxes[labels == 3]} == {
        tuple(box)
        for box in proposals()[0].numpy()
        if box[2] > box[0] and box_share(box, crowd) < 0.5 and box_iou(box, truth.boxes[1].numpy()) < 0.5
    }
    assert {tuple(box) for box in boxes[labels == 2]} == {
        tuple(box)
        for box in [*proposals()[0].numpy(), truth.boxes[1].numpy()]
        if box_iou(box, truth.boxes[1].numpy()) >= 0.5
    }
    assert (labels == 3).any()


def test_an_image_without_objects_is_all_background() -> None:
    drawn = RegionSampler(32)(proposals(), [target()], 3)
    assert (drawn.labels == 3).all()


def test_nothing_to_draw_gives_zeros_that_do_not_count() -> None:
    drawn = RegionSampler(8)(torch.zeros(2, 5, 4), [target(), target(((0, 0, 9, 9), 1, True))], 3)
    assert (drawn.labels == UNCOUNTED).all()
    assert not drawn.boxes.any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Proposals(top_k=0), "`top_k` and `count` >= 1"),
        (lambda: Proposals(count=0), "`top_k` and `count` >= 1"),
        (lambda: Proposals(nms_threshold=1.1), "`nms_threshold`"),
        (lambda: Proposals(min_size=-1.0), "`min_size`"),
        (lambda: PyramidRoIAlign([8, 16, 64]), r"`strides` that double.*Cure: consecutive"),
        (lambda: PyramidRoIAlign([]), "`strides` that double"),
        (lambda: PyramidRoIAlign([8], 0), "`output_size`"),
        (lambda: PyramidRoIAlign([8], sampling_ratio=0), "`sampling_ratio`"),
        (lambda: PyramidRoIAlign([8], canonical_size=0.0), "`canonical_size`"),
        (lambda: RegionSampler(0), "`count`"),
        (lambda: RegionSampler(positive_share=0.0), "`positive_share`"),
        (lambda: RegionSampler(foreground=1.5), "`foreground`"),
    ],
)
def test_bad_arguments(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
