"""RetinaNet's loss and decoding against plain loops, and the shapes of its parts."""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from naive import box_iou, box_share
from nets import retinanet, shake
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import batched_nms, box_area, clip_boxes_to_image

from bnn_tasks.backbones import BLOCKS, PlainUnit, ReActBlock, ReActUnit, RealUnit
from bnn_tasks.models import RetinaNet

SIZE = (48, 64)


@dataclass
class Target:
    boxes: Tensor
    labels: Tensor
    ignore: Tensor
    crowd: Tensor


def target(*objects: tuple) -> Target:
    """Objects: (box, label), (box, label, ignore) or (box, label, ignore, crowd)."""
    return Target(
        torch.tensor([o[0] for o in objects], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([o[1] for o in objects], dtype=torch.int64),
        torch.tensor([len(o) > 2 and o[2] for o in objects], dtype=torch.bool),
        torch.tensor([len(o) > 3 and o[3] for o in objects], dtype=torch.bool),
    )


def rows(maps: list[Tensor], columns: int) -> np.ndarray:
    """(N, anchors, columns) in the order level, y, x, anchor, by indices alone."""
    images = []
    for n in range(len(maps[0])):
        one = []
        for level in maps:
            channels, height, width = level.shape[1:]
            for y, x, a in np.ndindex(height, width, channels // columns):
                one.append([float(level[n, a * columns + c, y, x]) for c in range(columns)])
        images.append(one)
    return np.array(images)


def giou(a: np.ndarray, b: np.ndarray) -> float:
    iou = box_iou(a, b)
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    union = areas / (1 + iou)  # iou = inner / union and areas = union + inner
    return iou - (hull - union) / hull


def naive_loss(net: RetinaNet, outputs: dict[str, list[Tensor]], targets: list[Target]) -> tuple[float, float]:
    """(focal, box) by the papers' text."""
    anchors = torch.cat(net.anchors(outputs["cls_logits"])).double().numpy()
    logits, deltas = rows(outputs["cls_logits"], net.num_classes), rows(outputs["box_deltas"], 4)
    focal = box = 0.0
    positives = 0
    for n, truth in enumerate(targets):
        objects = truth.boxes.double().numpy()
        iou = np.array([[box_iou(o, a) for a in anchors] for o in objects]).reshape(len(objects), len(anchors))
        for m, anchor in enumerate(anchors):
            owner, ignored = None, False
            if len(objects):
                best = int(iou[:, m].argmax())
                favourite = any(iou[g, m] > 0 and iou[g, m] == iou[g].max() for g in range(len(objects)))
                if iou[best, m] >= net.foreground or favourite:
                    owner, ignored = (None, True) if truth.ignore[best] else (best, False)
                else:
                    crowds = objects[truth.crowd.numpy()]
                    ignored = iou[best, m] >= net.background or any(
                        box_share(anchor, c) >= net.background for c in crowds
                    )
            if ignored:
                continue
            for k in range(net.num_classes):
                p = 1 / (1 + math.exp(-logits[n, m, k]))
                wanted = owner is not None and int(truth.labels[owner]) == k
                focal += -0.25 * (1 - p) ** 2 * math.log(p) if wanted else -0.75 * p**2 * math.log(1 - p)
            if owner is not None:
                positives += 1
                width, height = anchor[2:] - anchor[:2]
                cx, cy = (anchor[:2] + anchor[2:]) / 2
                dx, dy, dw, dh = deltas[n, m]
                cx, cy = cx + dx * width, cy + dy * height
                width, height = width * math.exp(dw), height * math.exp(dh)
                found = np.array([cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2])
                box += 1 - giou(found, objects[owner])
    return focal / max(positives, 1), net.box_weight * box / max(positives, 1)


def outputs_of(net: RetinaNet, images: int, seed: int = 0, scale: float = 1.0) -> dict[str, list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(-(-SIZE[0] // s), -(-SIZE[1] // s)) for s in net.anchors.strides]
    count = net.anchors.per_position
    return {
        "cls_logits": [scale * torch.randn(images, count * net.num_classes, *s, generator=generator) for s in shapes],
        "box_deltas": [torch.randn(images, count * 4, *s, generator=generator) / 3 for s in shapes],
    }


@pytest.mark.parametrize(
    "targets",
    [
        [target(((3, 4, 30, 33), 0), ((20, 10, 60, 40), 2))],
        [target(), target(((3, 4, 40, 44), 1))],
        [target(((3, 4, 30, 33), 0, True), ((20, 10, 60, 40), 2)), target(((10, 10, 34, 34), 1, True))],
        [target(((0, 0, 64, 46), 0, True, True), ((3, 4, 30, 33), 1)), target(((3, 4, 40, 44), 1))],
        [target(((10.3, 43.9, 56.3, 63.9), 1))],  # unlike every anchor: the best one takes it
        [target(((3, 4, 40, 44), 1), ((3, 4, 40, 44), 2))],  # two objects in one place
    ],
    ids=["objects", "empty image", "ignored", "crowd", "odd shape", "same place"],
)
def test_loss_is_the_papers(targets: list[Target]) -> None:
    net = retinanet(3, ratios=(1.0, 2.0))
    outputs = outputs_of(net, len(targets))
    losses = net.loss(outputs, targets)
    assert set(losses) == {"cls", "box"}
    focal, box = naive_loss(net, outputs, targets)
    assert float(losses["cls"]) == pytest.approx(focal, rel=1e-4)
    assert float(losses["box"]) == pytest.approx(box, rel=1e-4)
    assert box > 0


def test_ignored_objects_alone_make_no_positive_and_no_negative() -> None:
    net = retinanet(2, ratios=(1.0,))
    outputs = outputs_of(net, 1)
    everything = target(((0, 0, 64, 48), 0, True))
    losses = net.loss(outputs, [everything])
    assert float(losses["box"]) == 0
    focal, _ = naive_loss(net, outputs, [everything])
    assert float(losses["cls"]) == pytest.approx(focal, rel=1e-4)
    assert float(losses["cls"]) < float(net.loss(outputs, [target()])["cls"])


def test_objects_in_a_crowd_are_no_background() -> None:
    net = retinanet(2, ratios=(1.0,), anchor_scale=2.0)
    outputs = outputs_of(net, 1)
    for logits in outputs["cls_logits"]:
        logits.requires_grad_()
    crowd = np.array([4.0, 4, 60, 44])
    net.loss(outputs, [target((tuple(crowd), 0, True, True))])["cls"].backward()
    learnt = rows([x.grad for x in outputs["cls_logits"]], 2)[0].any(axis=1)
    anchors = torch.cat(net.anchors(outputs["cls_logits"])).numpy()
    inside = np.array([box_share(anchor, crowd) == 1 for anchor in anchors])
    assert inside.sum() > 10
    assert not learnt[inside].any()
    assert learnt[[box_share(anchor, crowd) < 0.1 for anchor in anchors]].all()


def test_without_objects_every_head_still_has_a_gradient() -> None:
    net = retinanet(2).train()
    losses = net.loss(net(torch.rand(2, 3, 64, 64)), [target(), target()])
    sum(losses.values()).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def naive_decode(
    net: RetinaNet, outputs: dict[str, list[Tensor]], size: tuple[int, int]
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """torchvision.models.detection.RetinaNet.postprocess_detections, with our raw outputs' order and without empty boxes."""
    coder, found = BoxCoder((1.0, 1.0, 1.0, 1.0)), []
    anchors = net.anchors(outputs["cls_logits"])
    for n in range(len(outputs["cls_logits"][0])):
        boxes, scores, labels = [], [], []
        for level in range(len(anchors)):
            one = {name: [maps[level][n : n + 1]] for name, maps in outputs.items()}
            level_scores = torch.sigmoid(torch.tensor(rows(one["cls_logits"], net.num_classes)[0]).float()).flatten()
            deltas = torch.tensor(rows(one["box_deltas"], 4)[0]).float()
            decoded = clip_boxes_to_image(coder.decode_single(deltas, anchors[level]), size)
            solid = (box_area(decoded) > 0).repeat_interleave(net.num_classes)
            kept = torch.where((level_scores > net.score_threshold) & solid)[0]
            level_scores, order = level_scores[kept].topk(min(net.top_k, len(kept)))
            kept = kept[order]
            row = torch.div(kept, net.num_classes, rounding_mode="floor")
            boxes.append(decoded[row])
            scores.append(level_scores)
            labels.append(kept % net.num_classes)
        box, score, label = torch.cat(boxes), torch.cat(scores), torch.cat(labels)
        chosen = batched_nms(box, score, label, net.nms_threshold)[: net.max_detections]
        found.append((box[chosen], score[chosen], label[chosen]))
    return found


@pytest.mark.parametrize(
    "arguments",
    [{}, {"top_k": 5}, {"max_detections": 3}, {"score_threshold": 0.8}, {"nms_threshold": 0.0}, {"nms_threshold": 1.0}],
    ids=str,
)
def test_decode_is_torchvisions_postprocessing(arguments: dict) -> None:
    net = retinanet(3, ratios=(1.0, 2.0), **arguments)
    outputs = outputs_of(net, 2, scale=2.0)
    for found, (boxes, scores, labels) in zip(net.decode(outputs, SIZE), naive_decode(net, outputs, SIZE), strict=True):
        torch.testing.assert_close(found.boxes, boxes)
        torch.testing.assert_close(found.scores, scores)
        assert torch.equal(found.labels, labels)
        assert len(found.scores)
        assert (found.scores[1:] <= found.scores[:-1]).all()
        assert (found.boxes >= 0).all()
        assert (found.boxes[:, 2] <= SIZE[1]).all()
        assert (found.boxes[:, 3] <= SIZE[0]).all()


def test_boxes_off_the_image_are_no_detections_and_take_no_place() -> None:
    net = retinanet(1, top_k=2, nms_threshold=1.0)
    outputs = outputs_of(net, 1)
    expected: list[float] = []
    for logits, deltas in zip(outputs["cls_logits"], outputs["box_deltas"]):
        deltas.zero_()
        ranked = logits.flatten().argsort(descending=True)
        anchor, y, x = torch.unravel_index(ranked[:3], logits.shape[1:])
        deltas.view(-1, 4, *logits.shape[2:])[anchor, 0, y, x] = -100  # widths to the left
        expected += torch.sigmoid(logits.flatten()[ranked[3:5]]).tolist()
    (found,) = net.decode(outputs, SIZE)
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert found.scores.tolist() == pytest.approx(sorted(expected, reverse=True))


def test_decode_of_nothing_is_empty() -> None:
    net = retinanet(2)
    outputs = outputs_of(net, 1)
    outputs["cls_logits"] = [x - 100 for x in outputs["cls_logits"]]
    (found,) = net.decode(outputs, SIZE)
    assert found.boxes.shape == (0, 4)
    assert found.labels.dtype == torch.int64


def test_the_best_possible_outputs_give_the_objects_back() -> None:
    from bnn_tasks.models.anchors import encode

    net = retinanet(3)
    truth = target(((3, 4, 30, 33), 0), ((20, 10, 60, 40), 2))
    outputs = {name: [torch.full_like(x, -9.0) for x in maps] for name, maps in outputs_of(net, 1).items()}
    anchors = net.anchors(outputs["cls_logits"])
    for box, label in zip(truth.boxes, truth.labels):
        overlaps = [max(box_iou(box.numpy(), a.numpy()) for a in level) for level in anchors]
        level = int(np.argmax(overlaps))
        row = int(np.argmax([box_iou(box.numpy(), a.numpy()) for a in anchors[level]]))
        position, anchor = divmod(row, net.anchors.per_position)
        y, x = divmod(position, outputs["cls_logits"][level].shape[3])
        outputs["cls_logits"][level][0, anchor * 3 + label, y, x] = 9
        delta = encode(box[None], anchors[level][row : row + 1])[0]
        outputs["box_deltas"][level][0, anchor * 4 : anchor * 4 + 4, y, x] = delta
    (found,) = net.decode(outputs, SIZE)
    order = found.labels.argsort()
    torch.testing.assert_close(found.boxes[order], truth.boxes, rtol=1e-4, atol=1e-3)
    assert found.labels[order].tolist() == [0, 2]


@pytest.mark.parametrize("unit", [ReActUnit, PlainUnit, RealUnit])
@pytest.mark.parametrize("block", BLOCKS)
def test_forward_means_the_same_in_both_modes(block: str, unit: type) -> None:
    net = shake(retinanet(2, BLOCKS[block], unit, extra_levels=1))
    x = torch.rand(2, 3, 33, 47)
    trained, evaluated = net.train()(x), net.eval()(x)
    strides = [8, 16, 32, 64]
    assert net.anchors.strides == strides
    for name, per_anchor in (("cls_logits", 2), ("box_deltas", 4)):
        shapes = [(2, 9 * per_anchor, -(-33 // s), -(-47 // s)) for s in strides]
        assert [tuple(m.shape) for m in trained[name]] == shapes
        assert [tuple(m.shape) for m in evaluated[name]] == shapes
    assert set(trained) == set(evaluated) == {"cls_logits", "box_deltas"}
    single = net(x[1:])
    torch.testing.assert_close(single["cls_logits"][0], evaluated["cls_logits"][0][1:], rtol=1e-3, atol=1e-4)


def test_every_anchor_starts_at_the_prior() -> None:
    net = retinanet(4)
    scores = torch.cat([torch.sigmoid(x).flatten() for x in net(torch.rand(2, 3, 64, 64))["cls_logits"]])
    assert float(scores.mean().detach()) == pytest.approx(0.01, rel=0.3)


@pytest.mark.parametrize("unit", [ReActUnit, RealUnit])
def test_the_loss_falls_on_one_image(unit: type) -> None:
    torch.manual_seed(0)
    net = retinanet(2, unit=unit, channels=16)
    x, truth = torch.rand(1, 3, 64, 64), [target(((8, 8, 40, 40), 1))]
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = sum(net.loss(net(x), truth).values())
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5]), losses


def test_export_graph_names_what_forward_gives() -> None:
    net = retinanet(3, extra_levels=2, score_threshold=0.1, nms_threshold=0.6, top_k=50, max_detections=7)
    outputs = net.eval()(torch.rand(1, 3, 64, 64))
    known = {f"{name}.{level}" for name, maps in outputs.items() for level in range(len(maps))}
    nodes = net.export_graph()
    assert [node.op for node in nodes] == ["anchors", "decode_boxes", "nms"]
    for node in nodes:
        assert set(node.inputs) <= known
        known |= set(node.outputs)
    assert nodes[-1].outputs == ["boxes", "scores", "labels"]
    assert nodes[0].attrs["strides"] == [[8, 8], [16, 16], [32, 32], [64, 64], [128, 128]]
    assert torch.equal(nodes[0].tensors["base"], net.anchors.base)
    assert nodes[2].attrs == {
        "num_classes": 3,
        "score_threshold": 0.1,
        "iou_threshold": 0.6,
        "top_k": 50,
        "max_detections": 7,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "Expected `num_classes` to be >= 1"),
        ({"foreground": 0.3}, "`background` <= `foreground`"),
        ({"background": -0.1}, "`background` <= `foreground`"),
        ({"anchor_scale": 0.0}, "Expected `anchor_scale` to be > 0"),
        ({"anchor_scale": math.nan}, "Expected `anchor_scale` to be > 0"),
        ({"depth": -1}, "Expected `depth` to be >= 0"),
        ({"score_threshold": 1.0}, "`score_threshold`"),
        ({"nms_threshold": 1.1}, "`nms_threshold`"),
        ({"top_k": 0}, "`top_k`"),
        ({"max_detections": 0}, "`max_detections`"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        retinanet(**{"num_classes": 2, **arguments})


def test_a_detector_refuses_scales_tied_to_one_size() -> None:
    with pytest.raises(ValueError, match=r"every input size.*backbone\.layer1\.0\.first\.conv.*'xnor_pp'"):
        retinanet(3, partial(ReActBlock, method="xnor_pp_full"))
