"""SSD's boxes, matching, loss and decoding against torchvision's SSD and plain loops; its parts and what of them is real."""

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from naive import box_iou as naive_iou
from naive import box_share
from nets import shake
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder, SSDMatcher
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD as TorchvisionSSD
from torchvision.ops import batched_nms, box_iou, clip_boxes_to_image

from bnn_tasks.backbones import (
    BiRealUnit,
    ChannelPath,
    PlainUnit,
    ReActBlock,
    ReActUnit,
    RealUnit,
    ResNet,
    Unit,
    WeightOnlyUnit,
)
from bnn_tasks.backbones.vgg16 import VGG16
from bnn_tasks.binary import BinaryConv2d
from bnn_tasks.models.anchors import BACKGROUND
from bnn_tasks.models.default_boxes import RATIOS, SCALES, DefaultBoxes, match_default_boxes
from bnn_tasks.models.l2_norm import L2Norm
from bnn_tasks.models.single_value_norm import SingleValueBatchNorm2d, allow_single_values
from bnn_tasks.models.ssd import SSD, WEIGHTS
from bnn_tasks.models.ssd_extras import SSDExtras, unpadded
from bnn_tasks.models.ssd_head import SSDHead, UnitSSDHead

SIDES = [38, 19, 10, 5, 3, 1]
WITHOUT_WEIGHTS = partial(ReActUnit, path=ChannelPath)


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


def ssd(num_classes: int = 3, unit: type[Unit] = ReActUnit, width: int = 2, **arguments: object) -> SSD:
    return SSD(num_classes, VGG16(unit, width), partial(SSDExtras, width=width, unit=unit), **arguments)


def outputs_of(net: SSD, images: int, seed: int = 0, scale: float = 1.0) -> dict[str, list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    counts = net.default_boxes.per_position
    columns = net.num_classes + 1
    return {
        "cls_logits": [
            scale * torch.randn(images, a * columns, s, s, generator=generator) for a, s in zip(counts, SIDES)
        ],
        "box_deltas": [torch.randn(images, a * 4, s, s, generator=generator) for a, s in zip(counts, SIDES)],
    }


def rows(maps: list[Tensor], columns: int) -> Tensor:
    """(N, boxes, columns) in the order map, y, x, box, by torchvision's own steps."""
    levels = []
    for x in maps:
        n, _, h, w = x.shape
        levels.append(x.view(n, -1, columns, h, w).permute(0, 3, 4, 1, 2).reshape(n, -1, columns))
    return torch.cat(levels, dim=1)


def background_first(logits: Tensor) -> Tensor:
    return torch.cat([logits[..., -1:], logits[..., :-1]], dim=-1)


def torchvision_ssd(num_classes: int) -> TorchvisionSSD:
    """torchvision's loss and postprocessing, on outputs of ours."""
    return TorchvisionSSD(nn.Identity(), generator(), (300, 300), num_classes + 1, head=nn.Identity())


def generator() -> DefaultBoxGenerator:
    ratios = [[int(a) for a in level] for level in RATIOS]
    return DefaultBoxGenerator(ratios, scales=list(SCALES), steps=[8, 16, 32, 64, 100, 300], clip=False)


def default_boxes() -> Tensor:
    maps = [torch.zeros(1, 1, s, s) for s in SIDES]
    (boxes,) = generator()(ImageList(torch.zeros(1, 3, 300, 300), [(300, 300)]), maps)
    return boxes


def test_ssd300_has_the_papers_8732_default_boxes() -> None:
    net = ssd()
    boxes = net.default_boxes([torch.zeros(1, 1, s, s) for s in SIDES])
    assert net.default_boxes.per_position == [4, 6, 6, 6, 4, 4]
    assert sum(len(level) for level in boxes) == 8732
    torch.testing.assert_close(torch.cat(boxes), default_boxes(), rtol=1e-5, atol=1e-4)
    squares = [float(net.default_boxes.base(level)[0, 2]) * 2 for level in range(6)]
    assert squares == pytest.approx([30, 60, 111, 162, 213, 264], rel=1e-6)


@pytest.mark.parametrize("size", [(264, 352), (300, 400), (512, 512)], ids=str)
def test_default_boxes_of_other_sizes_cover_the_image(size: tuple[int, int]) -> None:
    net = ssd(input_size=size).eval()
    with torch.no_grad():
        outputs = net(torch.rand(1, 3, *size))
    for level, boxes in enumerate(net.default_boxes(outputs["cls_logits"])):
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        sy, sx = net.default_boxes.strides[level]
        assert float(centres.min()) > 0
        assert float(centres[:, 0].max()) < size[1] + sx / 2
        assert float(centres[:, 1].max()) < size[0] + sy / 2
        assert float(centres[:, 0].max()) > size[1] - sx
        assert float(centres[:, 1].max()) > size[0] - sy
        height, width = outputs["cls_logits"][level].shape[2:]
        assert len(boxes) == height * width * net.default_boxes.per_position[level]
        first = net.default_boxes.base(level)[0]
        assert float(first[2] - first[0]) == float(first[3] - first[1]) == pytest.approx(SCALES[level] * size[0])


def naive_matching(iou: np.ndarray, ignore: np.ndarray, threshold: float) -> np.ndarray:
    assigned = np.full(iou.shape[1], BACKGROUND)
    for m in range(iou.shape[1]):
        if len(iou) and iou[:, m].max() >= threshold:
            assigned[m] = iou[:, m].argmax()
    taken: set[int] = set()
    for flag in (False, True):
        waiting = {g for g in range(len(iou)) if bool(ignore[g]) == flag}
        while waiting:
            pairs = [(-iou[g, m], g, m) for g in waiting for m in range(iou.shape[1]) if m not in taken]
            best, g, m = min(pairs)
            if best == 0:
                break
            assigned[m] = g
            taken.add(m)
            waiting.remove(g)
    return assigned


@pytest.mark.parametrize("seed", range(6))
def test_matching_is_a_naive_one(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    iou = torch.rand(5, 12, generator=random) * (torch.rand(5, 12, generator=random) < 0.5)
    iou[3] = 0  # meets no box
    ignore = torch.tensor([True, False, False, False, True])
    expected = naive_matching(iou.double().numpy(), ignore.numpy(), 0.5)
    assert match_default_boxes(iou, ignore, 0.5).tolist() == expected.tolist()


def test_two_objects_of_one_best_box_get_a_box_each() -> None:
    iou = torch.tensor([[0.3, 0.45, 0.0], [0.2, 0.4, 0.1]])
    assert match_default_boxes(iou, torch.tensor([False, False]), 0.5).tolist() == [1, 0, BACKGROUND]
    assert match_default_boxes(iou, torch.tensor([True, False]), 0.5).tolist() == [0, 1, BACKGROUND]


def test_matching_without_objects() -> None:
    none = torch.zeros(0, dtype=torch.bool)
    assert match_default_boxes(torch.zeros(0, 3), none, 0.5).tolist() == [BACKGROUND] * 3


OBJECTS = [target(((30, 40, 130, 160), 0), ((150, 20, 290, 280), 2)), target(((101, 103, 122, 119), 1))]


def test_matching_is_torchvisions_where_best_boxes_differ() -> None:
    for truth in OBJECTS:
        iou = box_iou(truth.boxes, default_boxes())
        assert torch.equal(match_default_boxes(iou, truth.ignore, 0.5), SSDMatcher(0.5)(iou))


@pytest.mark.parametrize("targets", [OBJECTS, [*OBJECTS, target()], [target()]], ids=["objects", "one empty", "empty"])
def test_loss_is_torchvisions(targets: list[Target]) -> None:
    net = ssd()
    outputs = outputs_of(net, len(targets))
    anchors = [default_boxes()] * len(targets)
    matched = [
        SSDMatcher(0.5)(box_iou(t.boxes, anchors[0])) if len(t.boxes) else torch.full((8732,), -1) for t in targets
    ]
    expected = torchvision_ssd(3).compute_loss(
        [{"boxes": t.boxes, "labels": t.labels + 1} for t in targets],
        {
            "bbox_regression": rows(outputs["box_deltas"], 4),
            "cls_logits": background_first(rows(outputs["cls_logits"], 4)),
        },
        anchors,
        matched,
    )
    losses = net.loss(outputs, targets)
    assert set(losses) == {"cls", "box"}
    assert float(losses["cls"]) == pytest.approx(float(expected["classification"]), rel=1e-4)
    assert float(losses["box"]) == pytest.approx(float(expected["bbox_regression"]), rel=1e-4)


@pytest.mark.parametrize(
    "truth",
    [
        target(((30, 40, 130, 160), 0, True), ((150, 20, 290, 280), 2)),
        target(((10, 10, 60, 60), 1), ((11, 11, 61, 61), 0, True), ((100, 50, 300, 300), 1)),
        target(((30, 40, 130, 160), 0, True)),
        target(((10, 10, 290, 200), 0, True, True), ((150, 60, 290, 280), 2)),
    ],
    ids=["one ignored", "overlapping", "all ignored", "crowd"],
)
def test_ignored_objects_are_neither_positive_nor_negative(truth: Target) -> None:
    """By loops over boxes, with the negatives chosen from a sorted list."""
    net = ssd(negatives=2.0, box_weight=3.0)
    outputs = outputs_of(net, 1, seed=1)
    anchors = default_boxes()
    logits, deltas = rows(outputs["cls_logits"], 4)[0], rows(outputs["box_deltas"], 4)[0]
    entropies = -torch.log_softmax(logits.double(), dim=1)
    iou = np.array([[naive_iou(o, a) for a in anchors.double().numpy()] for o in truth.boxes.double().numpy()])
    near = (iou > 1e-3).any(axis=0)  # naive_matching is quadratic; boxes far from every object stay background
    assigned = np.full(len(anchors), BACKGROUND)
    assigned[near] = naive_matching(iou[:, near], truth.ignore.numpy(), 0.5)
    cls = box = 0.0
    positives, background = 0, []
    for m, owner in enumerate(assigned):
        if owner == BACKGROUND:
            if any(box_share(anchors[m].numpy(), crowd) >= 0.5 for crowd in truth.boxes[truth.crowd].numpy()):
                continue
            background.append(float(entropies[m, 3]))
        elif not truth.ignore[owner]:
            positives += 1
            cls += float(entropies[m, truth.labels[owner]])
            (ax, ay, aw, ah), (ox, oy, ow, oh) = (
                ((b[0] + b[2]) / 2, (b[1] + b[3]) / 2, b[2] - b[0], b[3] - b[1])
                for b in (anchors[m].tolist(), truth.boxes[owner].tolist())
            )
            wanted = ((ox - ax) / aw / 0.1, (oy - ay) / ah / 0.1, math.log(ow / aw) / 0.2, math.log(oh / ah) / 0.2)
            for found, value in zip(deltas[m].tolist(), wanted):
                far = abs(found - value)
                box += far - 0.5 if far > 1 else far**2 / 2
    cls += sum(sorted(background, reverse=True)[: 2 * positives])
    losses = net.loss(outputs, [truth])
    assert float(losses["cls"]) == pytest.approx(cls / max(positives, 1), rel=1e-4)
    assert float(losses["box"]) == pytest.approx(3 * box / max(positives, 1), rel=1e-3)
    assert (positives == 0) == bool(truth.ignore.all())


def test_negatives_are_at_most_what_there_is() -> None:
    net = ssd(negatives=1e6)
    outputs = outputs_of(net, 1)
    truth = OBJECTS[0]
    entropy = -torch.log_softmax(rows(outputs["cls_logits"], 4)[0], dim=1)
    assigned = match_default_boxes(box_iou(truth.boxes, default_boxes()), truth.ignore, 0.5)
    wanted = torch.where(assigned < 0, 3, truth.labels[assigned.clamp(min=0)])
    total = entropy[torch.arange(8732), wanted].sum() / (assigned >= 0).sum()
    assert float(net.loss(outputs, [truth])["cls"]) == pytest.approx(float(total), rel=1e-4)


@pytest.mark.parametrize("targets", [[target(), target()], [OBJECTS[0], target()]], ids=["no object", "objects"])
def test_every_part_has_a_gradient(targets: list[Target]) -> None:
    torch.manual_seed(0)
    net = ssd(2, head=UnitSSDHead).train()
    targets = [Target(t.boxes, t.labels.clamp(max=1), t.ignore, t.crowd) for t in targets]
    losses = net.loss(net(torch.rand(2, 3, 300, 300)), targets)
    sum(losses.values()).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
    assert any(bool(p.grad.any()) for p in net.parameters()) == any(len(t.boxes) for t in targets)


def naive_decode(net: SSD, outputs: dict[str, list[Tensor]], size: tuple[int, int]) -> list[tuple[Tensor, ...]]:
    """torchvision.models.detection.SSD.postprocess_detections, with `top_k` a map instead of a class."""
    coder, found = BoxCoder(WEIGHTS), []
    columns = net.num_classes + 1
    starts = [0]
    for level in outputs["box_deltas"]:
        starts.append(starts[-1] + level[0].numel() // 4)
    for logits, deltas in zip(rows(outputs["cls_logits"], columns), rows(outputs["box_deltas"], 4)):
        boxes = clip_boxes_to_image(coder.decode_single(deltas, default_boxes()), size)
        solid = ((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])).tolist()
        scores = torch.softmax(logits, dim=1)[:, :-1].tolist()
        kept = []
        for first, last in pairwise(starts):
            pairs = [
                (-scores[m][k], m, k)
                for m in range(first, last)
                for k in range(net.num_classes)
                if scores[m][k] > net.score_threshold and solid[m]
            ]
            kept += sorted(pairs)[: net.top_k]
        box = boxes[[m for _, m, _ in kept]]
        score = torch.tensor([-s for s, _, _ in kept])
        label = torch.tensor([k for _, _, k in kept], dtype=torch.int64)
        chosen = batched_nms(box, score, label, net.nms_threshold)[: net.max_detections]
        found.append((box[chosen], score[chosen], label[chosen]))
    return found


@pytest.mark.parametrize(
    "arguments",
    [{}, {"top_k": 5}, {"max_detections": 3}, {"score_threshold": 0.9}, {"nms_threshold": 0.0}],
    ids=str,
)
def test_decode_is_torchvisions_postprocessing(arguments: dict) -> None:
    net = ssd(**{"score_threshold": 0.7, **arguments})
    outputs = outputs_of(net, 2, scale=2.0)
    size = (300, 280)
    for found, (boxes, scores, labels) in zip(net.decode(outputs, size), naive_decode(net, outputs, size), strict=True):
        torch.testing.assert_close(found.boxes, boxes, rtol=1e-5, atol=1e-3)
        torch.testing.assert_close(found.scores, scores)
        assert torch.equal(found.labels, labels)
        assert len(found.scores)
        assert (found.scores[1:] <= found.scores[:-1]).all()
        assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()


def test_decode_of_nothing_is_empty() -> None:
    net = ssd()
    outputs = outputs_of(net, 1)
    for x in outputs["cls_logits"]:
        x.view(1, -1, 4, *x.shape[2:])[:, :, 3] += 100
    (found,) = net.decode(outputs, (300, 300))
    assert found.boxes.shape == (0, 4)
    assert found.labels.dtype == torch.int64


@pytest.mark.parametrize("unit", [RealUnit, PlainUnit, BiRealUnit, ReActUnit, WITHOUT_WEIGHTS, WeightOnlyUnit])
@pytest.mark.parametrize("head", [SSDHead, UnitSSDHead])
def test_forward_means_the_same_in_both_modes(unit: type[Unit], head: type[nn.Module]) -> None:
    net = shake(ssd(2, unit, head=head))
    x = torch.rand(2, 3, 270, 300)
    trained, evaluated = net.train()(x), net.eval()(x)
    heights, widths = [34, 17, 9, 5, 3, 1], SIDES
    assert net.feature_channels == [16, 32, 8, 4, 4, 4]
    assert net.feature_strides == [8, 16, 32, 64, 64, 64]
    assert [tuple(f.shape[1:]) for f in net.features(x)] == list(zip(net.feature_channels, heights, widths))
    for name, per_box in (("cls_logits", 3), ("box_deltas", 4)):
        shapes = [(2, a * per_box, h, w) for a, h, w in zip([4, 6, 6, 6, 4, 4], heights, widths)]
        assert [tuple(m.shape) for m in trained[name]] == shapes
        assert [tuple(m.shape) for m in evaluated[name]] == shapes
    single = net(x[1:])
    torch.testing.assert_close(single["cls_logits"][0], evaluated["cls_logits"][0][1:], rtol=1e-3, atol=1e-4)


def real_layers(net: nn.Module) -> set[str]:
    return {name for name, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}


def test_what_is_real_with_the_papers_head_and_paths_without_weights() -> None:
    net = ssd(2, WITHOUT_WEIGHTS)
    predictors = {f"head.{kind}.{level}" for kind in ("cls_logits", "box_deltas") for level in range(6)}
    assert real_layers(net) == {"backbone.conv1_1"} | predictors
    assert len([m for m in net.modules() if isinstance(m, BinaryConv2d)]) == 14 + 8


def test_what_is_real_with_a_binary_head() -> None:
    net = ssd(2, WITHOUT_WEIGHTS, head=partial(UnitSSDHead, unit=PlainUnit))
    assert real_layers(net) == {"backbone.conv1_1"}
    assert len([m for m in net.modules() if isinstance(m, BinaryConv2d)]) == 14 + 8 + 12


@pytest.mark.parametrize("binary", ["backbone", "extras", "head"])
def test_each_part_is_real_or_binary_by_choice(binary: str) -> None:
    units = {part: PlainUnit if part == binary else RealUnit for part in ("backbone", "extras", "head")}
    net = SSD(
        2,
        VGG16(units["backbone"], 1),
        partial(SSDExtras, width=1, unit=units["extras"]),
        partial(UnitSSDHead, unit=units["head"]),
    )
    parts = {name.split(".")[0] for name, m in net.named_modules() if isinstance(m, BinaryConv2d)}
    assert parts == {binary}


def test_another_backbone() -> None:
    backbone = ResNet(18, ReActBlock, 4, 3, out_indices=(2, 3))
    net = SSD(2, backbone, partial(SSDExtras, width=4), input_size=(300, 300)).eval()
    outputs = net(torch.rand(1, 3, 300, 300))
    assert [m.shape[2] for m in outputs["cls_logits"]] == SIDES


@torch.no_grad()
@pytest.mark.parametrize("unit", [RealUnit, PlainUnit, WeightOnlyUnit])
def test_an_unpadded_unit_is_the_inside_of_a_padded_one(unit: type[Unit]) -> None:
    torch.manual_seed(0)
    padded = shake(unit(6, 8))
    x = torch.randn(2, 6, 7, 5)
    expected = padded(x)[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(unpadded(padded)(x), expected)
    padded.train()
    assert padded(x).shape == expected.shape


@torch.no_grad()
@pytest.mark.parametrize("unit", [BiRealUnit, ReActUnit, WITHOUT_WEIGHTS])
def test_the_path_around_an_unpadded_unit_is_the_mean_of_what_it_reads(unit: type[Unit]) -> None:
    torch.manual_seed(0)
    found = unpadded(unit(6, 6)).eval()
    x = torch.randn(2, 6, 7, 5)
    sums = torch.stack([x[:, :, y : y + 5, i : i + 3] for y in range(3) for i in range(3)]).mean(0)
    y = found.bn(found.conv(x)) + sums
    torch.testing.assert_close(found(x), y if unit is BiRealUnit else found.activation(y))


@torch.no_grad()
def test_l2_norm_is_its_formula() -> None:
    torch.manual_seed(0)
    norm = L2Norm(6)
    assert norm.weight.tolist() == [20.0] * 6
    norm.weight.data.uniform_(1, 3)
    x = torch.randn(2, 6, 3, 4)
    x[0, :, 0, 0] = 0
    for n, y, i in np.ndindex(2, 3, 4):
        values = x[n, :, y, i].double().numpy()
        length = max(math.sqrt((values**2).sum()), 1e-10)
        expected = values / length * norm.weight.double().numpy()
        np.testing.assert_allclose(norm(x)[n, :, y, i].numpy(), expected, rtol=1e-5)


def test_a_batch_of_one_image_trains() -> None:
    """The last map has one value a channel then, which torch's BatchNorm refuses."""
    torch.manual_seed(0)
    net = ssd(2, head=UnitSSDHead).train()
    losses = net.loss(net(torch.rand(1, 3, 300, 300)), [target(((30, 40, 130, 160), 0))])
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_batchnorm_of_single_values_takes_running_statistics() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.BatchNorm2d(3))
    allow_single_values(net)
    (norm,) = net
    assert type(norm) is SingleValueBatchNorm2d
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(1, 2)
    x, before = torch.randn(1, 3, 1, 1), norm.running_mean.clone()
    expected = (x.flatten() - before) / (norm.running_var + norm.eps).sqrt()
    torch.testing.assert_close(net.train()(x).flatten(), expected)
    assert torch.equal(norm.running_mean, before)
    several = torch.randn(4, 3, 1, 1)
    torch.testing.assert_close(net(several), nn.BatchNorm2d(3)(several))


@pytest.mark.parametrize("unit", [WITHOUT_WEIGHTS, RealUnit])
def test_the_loss_falls_on_one_batch(unit: type[Unit]) -> None:
    torch.manual_seed(0)
    net = ssd(2, unit, 4)
    x = torch.rand(2, 3, 257, 257)
    x[0, :, 60:180, 40:160] += 1
    truth = [target(((40, 60, 160, 180), 1)), target()]
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = sum(net.loss(net(x), truth).values())
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-3:]) < 0.5 * np.mean(losses[:3]), losses


def test_export_graph_names_what_forward_gives() -> None:
    net = ssd(3, score_threshold=0.1, nms_threshold=0.6, top_k=50, max_detections=7)
    outputs = net.eval()(torch.rand(1, 3, 300, 300))
    known = {f"{name}.{level}" for name, maps in outputs.items() for level in range(len(maps))}
    nodes = net.export_graph()
    assert [node.op for node in nodes] == ["anchors"] * 6 + ["join_boxes", "decode_boxes", "nms_softmax"]
    for node in nodes:
        assert set(node.inputs) <= known
        assert not set(node.outputs) & known
        known |= set(node.outputs)
    assert nodes[-1].outputs == ["boxes", "scores", "labels"]
    assert [node.attrs["strides"] for node in nodes[:6]] == [[[s, s]] for s in (8, 16, 32, 64, 100, 300)]
    assert nodes[-2].attrs["weights"] == [1 / v for v in (0.1, 0.1, 0.2, 0.2)]
    assert nodes[-1].attrs == {
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
        ({"foreground": 0.0}, "`foreground`"),
        ({"negatives": -1.0}, "`negatives`"),
        ({"negatives": math.nan}, "`negatives`"),
        ({"scales": (*SCALES[:-1], math.nan)}, "positive"),
        ({"score_threshold": 1.0}, "`score_threshold`"),
        ({"nms_threshold": 1.1}, "`nms_threshold`"),
        ({"top_k": 0}, "`top_k`"),
        ({"max_detections": 0}, "`max_detections`"),
        ({"input_size": (256, 300)}, "`input_size` to be >= 257 px"),
        ({"scales": SCALES[:-1]}, "one side more than maps"),
        ({"ratios": RATIOS[1:]}, "one list of ratios a map"),
        ({"ratios": ((2.0,), (2.0,), (2.0,), (2.0,), (2.0,), (-2.0,))}, "positive"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ssd(**arguments)


def test_bad_default_boxes() -> None:
    with pytest.raises(ValueError, match="for 0 maps"):
        DefaultBoxes([], [30], [])
    with pytest.raises(ValueError, match="`width`"):
        SSDExtras(8, width=0)


def test_small_images_are_refused_with_the_cure() -> None:
    with pytest.raises(ValueError, match=r"images of >= 257 px a side.*\(256, 300\).*Cure: larger `sizes`"):
        ssd()(torch.rand(2, 3, 256, 300))
    assert len(ssd()(torch.rand(2, 3, 257, 257))["cls_logits"]) == 6


@torch.no_grad()
def test_images_whose_last_boxes_would_lie_off_them_are_refused_with_the_cure() -> None:
    net = ssd(1, width=1).eval()
    for size in ((320, 320), (257, 320), (300, 300)):
        boxes = torch.cat(net.default_boxes(net(torch.rand(1, 3, *size))["cls_logits"])[-2:])
        assert (((boxes[:, :2] + boxes[:, 2:]) / 2) < torch.tensor([size[1], size[0]])).all()
    for size in ((300, 321), (321, 257)):
        with pytest.raises(
            ValueError, match=rf"at most 1×1 positions.*\({size[0]}, {size[1]}\) px.*Cure: an `input_size`"
        ):
            net(torch.rand(1, 3, *size))
    outputs = ssd(1, width=1, input_size=(321, 400)).eval()(torch.rand(1, 3, 321, 400))
    assert outputs["cls_logits"][-1].shape[2:] == (2, 3)


def test_a_detector_refuses_scales_tied_to_one_size() -> None:
    with pytest.raises(ValueError, match=r"every input size.*'xnor_pp'"):
        ssd(3, partial(PlainUnit, method="xnor_pp_full"))
