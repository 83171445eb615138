"""Faster R-CNN's losses and decoding against plain loops and torchvision, and the shapes and kinds of its parts."""

import itertools
import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from naive import box_iou, box_share
from nets import shake
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from two_stage_nets import faster_rcnn, sharpen

from bnn_tasks.backbones import PlainUnit, ReActBlock, ReActUnit, RealBlock, RealUnit, ResNet
from bnn_tasks.binary import BinaryConv2d
from bnn_tasks.binary.profile import profile
from bnn_tasks.models import FPN
from bnn_tasks.models.anchors import DELTA_CLIP, rows
from bnn_tasks.models.box_head import BinaryRegionUnit, RealRegionUnit, RegionPath, TwoLayerBoxHead
from bnn_tasks.models.box_losses import BoxLoss, GIoUBoxLoss, SmoothL1BoxLoss
from bnn_tasks.models.box_sampling import UNCOUNTED, RegionSampler
from bnn_tasks.models.faster_rcnn import BOX_WEIGHTS, FasterRCNN
from bnn_tasks.models.rpn import RPNLoss, sample
from bnn_tasks.models.rpn_head import RPNHead

SIZE = (48, 64)


def target(*objects: tuple) -> SimpleNamespace:
    """Objects: (box, label), (box, label, ignore) or (box, label, ignore, crowd)."""
    return SimpleNamespace(
        boxes=torch.tensor([o[0] for o in objects], dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor([o[1] for o in objects], dtype=torch.int64),
        ignore=torch.tensor([len(o) > 2 and o[2] for o in objects], dtype=torch.bool),
        crowd=torch.tensor([len(o) > 3 and o[3] for o in objects], dtype=torch.bool),
    )


TARGETS = {
    "objects": [target(((3, 4, 30, 33), 0), ((20, 10, 60, 40), 2))],
    "empty image": [target(), target(((3, 4, 40, 44), 1))],
    "ignored": [target(((3, 4, 30, 33), 0, True), ((20, 10, 60, 40), 2)), target(((10, 10, 34, 34), 1, True))],
    "crowd": [target(((0, 0, 64, 46), 0, True, True), ((20, 10, 60, 40), 2)), target(((5, 5, 60, 40), 1, True, True))],
    "odd shape": [target(((11, 41, 57, 48), 1))],  # unlike every anchor: the best one takes it
    "no object": [target(), target()],
}


def naive_box_loss(loss: BoxLoss, delta: np.ndarray, anchor: np.ndarray, box: np.ndarray) -> float:
    size, centre = anchor[2:] - anchor[:2], (anchor[:2] + anchor[2:]) / 2
    if isinstance(loss, SmoothL1BoxLoss):
        wanted = [*(((box[:2] + box[2:]) / 2 - centre) / size), *np.log((box[2:] - box[:2]) / size)]
        errors = [abs(float(d) - w) for d, w in zip(delta, wanted)]
        return sum(e * e / (2 * loss.beta) if e < loss.beta else e - loss.beta / 2 for e in errors)
    middle, half = centre + delta[:2] * size, size * np.exp(np.minimum(delta[2:], DELTA_CLIP)) / 2
    found = np.concatenate([middle - half, middle + half])
    iou = box_iou(found, box)
    hull = np.prod(np.maximum(found[2:], box[2:]) - np.minimum(found[:2], box[:2]))
    union = (np.prod(found[2:] - found[:2]) + np.prod(box[2:] - box[:2])) / (1 + iou)
    return 1 - iou + float((hull - union) / hull)


@pytest.mark.parametrize(
    "box", [SmoothL1BoxLoss(), SmoothL1BoxLoss(0.5), GIoUBoxLoss()], ids=lambda b: type(b).__name__
)
@pytest.mark.parametrize("name", TARGETS)
def test_rpn_loss_is_the_papers(name: str, box: BoxLoss) -> None:
    targets = TARGETS[name]
    net = faster_rcnn()
    anchors = torch.cat(net.anchors([torch.empty(1, -(-SIZE[0] // s), -(-SIZE[1] // s)) for s in (8, 16, 32)]))
    torch.manual_seed(0)
    logits, deltas = torch.randn(len(targets), len(anchors)), torch.randn(len(targets), len(anchors), 4) / 3
    # Enough are drawn for all to be.
    found = RPNLoss(count=10_000, positive_share=1.0, box=box, box_weight=2.0)(anchors, logits, deltas, targets)
    cls = regression = 0.0
    drawn = positives = 0
    for n, truth in enumerate(targets):
        objects = truth.boxes.double().numpy()
        iou = np.array([[box_iou(o, a) for a in anchors.double().numpy()] for o in objects]).reshape(-1, len(anchors))
        for m in range(len(anchors)):
            best = int(iou[:, m].argmax()) if len(objects) else -1
            overlap = iou[best, m] if len(objects) else 0.0
            favourite = any(0 < iou[g, m] == iou[g].max() for g in range(len(objects)))
            if positive := overlap >= 0.7 or favourite:
                if truth.ignore[best]:
                    continue
            elif overlap >= 0.3 or any(
                box_share(anchors[m].double().numpy(), c) >= 0.3 for c in objects[truth.crowd.numpy()]
            ):
                continue
            p = 1 / (1 + math.exp(-float(logits[n, m])))
            cls -= math.log(p if positive else 1 - p)
            drawn += 1
            if positive:
                positives += 1
                regression += naive_box_loss(
                    box, deltas[n, m].double().numpy(), anchors[m].double().numpy(), objects[best]
                )
    assert (positives > 0) == (name != "no object")
    assert float(found["rpn_cls"]) == pytest.approx(cls / drawn, rel=1e-4)
    assert float(found["rpn_box"]) == pytest.approx(2 * regression / drawn, rel=1e-4)


@pytest.mark.parametrize(("positives", "negatives", "wanted"), [(3, 50, (3, 13)), (40, 50, (8, 8)), (20, 2, (8, 2))])
def test_sampling_keeps_its_shares(positives: int, negatives: int, wanted: tuple[int, int]) -> None:
    flags = torch.arange(100)
    positive, negative = flags < positives, flags >= 100 - negatives
    found, empty = sample(positive, negative, 16, 0.5)
    assert (len(set(found.tolist())), len(set(empty.tolist()))) == wanted == (len(found), len(empty))
    assert positive[found].all()
    assert negative[empty].all()


@pytest.mark.parametrize("name", TARGETS)
def test_box_head_loss_is_torchvisions(name: str) -> None:
    targets = TARGETS[name]
    net = sharpen(shake(faster_rcnn(sampler=RegionSampler(32))))
    outputs = net(torch.rand(len(targets), 3, *SIZE))
    torch.manual_seed(3)
    losses = net.loss(outputs, targets)
    torch.manual_seed(3)  # the same draw: that of the anchors first
    net.rpn_loss(
        torch.cat(net.anchors(outputs["objectness"])),
        torch.cat(rows(outputs["objectness"], 1), dim=1)[..., 0],
        torch.cat(rows(outputs["rpn_deltas"], 4), dim=1),
        targets,
    )
    drawn = net.sampler(outputs["proposals"][0], targets, 3)
    found = net.box_head(net.region_features(outputs, drawn.boxes))
    logits, deltas = found["cls_logits"][0][..., 0].transpose(1, 2), found["box_deltas"][0][..., 0].transpose(1, 2)
    counted = drawn.labels != UNCOUNTED
    labels = (drawn.labels[counted] + 1) % 4  # torchvision's background is class 0
    logits = torch.cat([logits[counted][:, -1:], logits[counted][:, :-1]], dim=1)
    objects = torch.where((labels > 0)[:, None], drawn.objects[counted], drawn.boxes[counted])
    wanted = BoxCoder(BOX_WEIGHTS).encode_single(objects, drawn.boxes[counted])
    cls, box = fastrcnn_loss(logits, deltas[counted].repeat(1, 4), [labels], [wanted])
    assert float(losses["cls"].detach()) == pytest.approx(float(cls.detach()), rel=1e-5)
    assert float(losses["box"].detach()) == pytest.approx(float(box.detach()), rel=1e-4, abs=1e-7)
    assert (float(box.detach()) > 0) == bool((~torch.cat([t.ignore for t in targets])).any())


@pytest.mark.parametrize("box", [SmoothL1BoxLoss(), GIoUBoxLoss()], ids=lambda b: type(b).__name__)
@pytest.mark.parametrize("name", ["objects", "no object"])
def test_every_part_has_a_finite_gradient(name: str, box: BoxLoss) -> None:
    net = faster_rcnn(extra_levels=1, box_loss=box, rpn_loss=RPNLoss(box=box)).train()
    targets = [*TARGETS[name], target()]
    losses = net.loss(net(torch.rand(len(targets), 3, 64, 64)), targets)
    assert set(losses) == {"rpn_cls", "rpn_box", "cls", "box"}
    sum(losses.values()).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
    if name == "objects":
        silent = {part for part, module in net.named_children() if not any(p.grad.any() for p in module.parameters())}
        assert silent == {"normalize", "anchors"}


def test_mixed_precision_gives_finite_losses() -> None:
    net = faster_rcnn().train()
    with torch.autocast("cpu", torch.bfloat16):
        losses = net.loss(net(torch.rand(2, 3, 64, 64)), [*TARGETS["objects"], target()])
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def fold(found: dict[str, list[Tensor]]) -> tuple[Tensor, Tensor]:
    """The box head's maps of all images as torchvision has them: (N·R, K + 1), background first; (N·R, 4·(K + 1))."""
    logits, deltas = (found[name][0][..., 0].transpose(1, 2).flatten(0, 1) for name in ("cls_logits", "box_deltas"))
    return torch.cat([logits[:, -1:], logits[:, :-1]], dim=1), deltas.repeat(1, logits.shape[1])


@pytest.mark.parametrize(
    "arguments",
    [{}, {"max_detections": 3}, {"score_threshold": 0.4}, {"nms_threshold": 0.1}, {"nms_threshold": 1.0}],
    ids=str,
)
def test_decode_is_torchvisions_postprocessing(arguments: dict) -> None:
    torch.manual_seed(0)
    net = sharpen(shake(faster_rcnn(**arguments)))
    outputs = net(torch.rand(2, 3, *SIZE))
    outputs["proposals"][0][1, 15:] = 0
    proposals = outputs["proposals"][0]
    logits, deltas = fold(net.box_head(net.region_features(outputs, proposals)))
    logits[35:] = torch.tensor([100.0, 0, 0, 0])  # rows that fill up are no detections
    peer = SimpleNamespace(
        box_coder=BoxCoder(BOX_WEIGHTS),
        score_thresh=net.score_threshold,
        nms_thresh=net.nms_threshold,
        detections_per_img=net.max_detections,
    )
    wanted = RoIHeads.postprocess_detections(peer, logits, deltas, list(proposals), [SIZE, SIZE])
    for found, boxes, scores, labels in zip(net.decode(outputs, SIZE), *wanted, strict=True):
        assert len(found.scores) > 1
        torch.testing.assert_close(found.boxes, boxes)
        torch.testing.assert_close(found.scores, scores)
        assert torch.equal(found.labels, labels - 1)


def test_top_k_keeps_the_best() -> None:
    torch.manual_seed(0)
    few, all_of_them = (sharpen(shake(faster_rcnn(top_k=k, nms_threshold=1.0))) for k in (5, 1000))
    few.load_state_dict(all_of_them.state_dict())
    x = torch.rand(1, 3, *SIZE)
    (found,), (wanted,) = few.decode(few(x), SIZE), all_of_them.decode(all_of_them(x), SIZE)
    assert len(found.scores) == 5
    assert torch.equal(found.boxes, wanted.boxes[:5])


def test_the_best_possible_heads_give_the_objects_back() -> None:
    net = faster_rcnn(3).eval()
    truth = TARGETS["objects"][0]
    proposals = torch.cat([truth.boxes + torch.tensor([2.0, -1, -1, 3]), torch.zeros(18, 4)])[None]
    logits, deltas = torch.zeros(1, 4, 20, 1), torch.zeros(1, 4, 20, 1)
    for row, (box, label) in enumerate(zip(truth.boxes, truth.labels)):
        logits[0, label, row] = 9
        deltas[0, :, row, 0] = BoxCoder(BOX_WEIGHTS).encode_single(box[None], proposals[0, row : row + 1])[0]
    logits[:, 0, 2:] = 9  # rows of zeros are no detections, whatever their score
    (found,) = net.detections(proposals, {"cls_logits": [logits], "box_deltas": [deltas]}, SIZE)
    order = found.labels.argsort()
    torch.testing.assert_close(found.boxes[order], truth.boxes, rtol=1e-4, atol=1e-3)
    assert found.labels[order].tolist() == [0, 2]


@pytest.mark.parametrize("binary", list(itertools.product([False, True], repeat=4)), ids=str)
def test_each_part_is_real_or_binary_by_choice(binary: tuple[bool, ...]) -> None:
    kinds = ((RealBlock, ReActBlock), (RealUnit, ReActUnit), (RealUnit, ReActUnit), (RealRegionUnit, BinaryRegionUnit))
    net = faster_rcnn(2, *(pair[flag] for pair, flag in zip(kinds, binary, strict=True)), extra_levels=1)
    for part, wanted in zip(("backbone", "neck", "rpn_head", "box_head"), binary, strict=True):
        assert any(isinstance(m, BinaryConv2d) for m in net.get_submodule(part).modules()) == wanted, part
    x = torch.rand(2, 3, 33, 47)
    trained, evaluated = net.train()(x), shake(net)(x)
    assert net.feature_strides == net.anchors.strides == [8, 16, 32, 64]
    shapes = [(-(-33 // s), -(-47 // s)) for s in net.feature_strides]
    for outputs in (trained, evaluated):
        assert {key: [tuple(x.shape) for x in maps] for key, maps in outputs.items()} == {
            "features": [(2, 8, *shape) for shape in shapes[:3]],
            "objectness": [(2, 3, *shape) for shape in shapes],
            "rpn_deltas": [(2, 12, *shape) for shape in shapes],
            "proposals": [(2, 20, 4)],
        }
    net.decode(evaluated, (33, 47))


def test_without_a_binary_unit_only_outputs_and_linears_are_dense() -> None:
    head = TwoLayerBoxHead(8, 7, 3, 32, partial(BinaryRegionUnit, method="bireal"))
    real = {name for name, module in head.named_modules() if type(module) is nn.Conv2d}
    assert real == {"cls_logits", "box_deltas"}


def test_the_real_path_is_the_mean_over_positions() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 7, 7, 8, 5)  # image, y, x, channel, region
    path = RegionPath(7 * 7 * 8, 32, 1)
    y = path(x.reshape(2, 7 * 7 * 8, 5, 1))
    for group in range(4):
        torch.testing.assert_close(y[:, 8 * group : 8 * group + 8, :, 0], x.mean(dim=(1, 2)))
    same = torch.randn(1, 6, 2, 1)
    assert torch.equal(RegionPath(6, 6)(same), same)


def test_scores_start_even_and_boxes_as_proposed() -> None:
    net = faster_rcnn(4).eval()
    found = net.box_head(torch.randn(1, 9 * 8, 20, 1))
    assert float(torch.softmax(found["cls_logits"][0], dim=1).detach().std()) < 0.05
    assert float(found["box_deltas"][0].detach().abs().max()) < 0.1


@pytest.mark.parametrize(
    ("block", "unit", "box"), [(ReActBlock, ReActUnit, BinaryRegionUnit), (RealBlock, RealUnit, RealRegionUnit)]
)
def test_the_loss_falls_on_one_image(block: type, unit: type, box: type) -> None:
    torch.manual_seed(0)
    net = faster_rcnn(2, block, unit, unit, box, sampler=RegionSampler(32)).train()
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


def test_export_graph_names_what_dense_and_the_head_give() -> None:
    net = faster_rcnn(3, extra_levels=1, score_threshold=0.1, nms_threshold=0.6, top_k=50, max_detections=7).eval()
    outputs = net.dense(torch.rand(1, 3, 64, 64))
    known = {f"{name}.{level}" for name, maps in outputs.items() for level in range(len(maps))}
    nodes = net.export_graph()
    assert [getattr(node, "op", "stage") for node in nodes] == [
        "anchors",
        "proposals",
        "roi_align",
        "stage",
        "decode_boxes",
        "nms_softmax",
    ]
    for node in nodes:
        assert set([node.input] if node is nodes[3] else node.inputs) <= known
        known |= set(node.outputs)
    assert nodes[-1].outputs == ["boxes", "scores", "labels"]
    assert len(nodes[3].outputs) == len(net.box_head(torch.rand(1, 72, 20, 1)))
    assert nodes[1].attrs["max_proposals"] == 20
    assert nodes[4].attrs["weights"] == list(BOX_WEIGHTS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "Expected `num_classes` to be >= 1"),
        ({"anchor_scale": 0.0}, "Expected `anchor_scale` to be > 0"),
        ({"anchor_scale": math.nan}, "Expected `anchor_scale` to be > 0"),
        ({"score_threshold": 1.0}, "`score_threshold`"),
        ({"nms_threshold": 1.1}, "`nms_threshold`"),
        ({"top_k": 0}, "`top_k`"),
        ({"max_detections": 0}, "`max_detections`"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        faster_rcnn(**{"num_classes": 2, **arguments})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RPNHead(8, 3, 1, depth=-1), "`depth` to be >= 0"),
        (lambda: RPNLoss(foreground=0.2), "`background` <= `foreground`"),
        (lambda: RPNLoss(count=0), "`count` >= 1"),
        (lambda: RPNLoss(positive_share=0.0), "`positive_share`"),
        (lambda: SmoothL1BoxLoss(0.0), "`beta`"),
        (lambda: RegionPath(8, 8, 2), "`stride` to be 1"),
        (lambda: RealRegionUnit(8, 8, 2), "`stride` to be 1"),
        (lambda: BinaryRegionUnit(8, 8, 2), "`stride` to be 1"),
        (lambda: TwoLayerBoxHead(8, 7, 3, 0), "`width`"),
    ],
)
def test_bad_arguments_of_parts(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_detector_refuses_scales_tied_to_one_size() -> None:
    with pytest.raises(ValueError, match=r"every input size.*backbone\.layer1\.0\.first\.conv.*'xnor_pp'"):
        faster_rcnn(3, partial(ReActBlock, method="xnor_pp_full"))


def test_strides_that_do_not_double_are_refused_with_the_cure() -> None:
    with pytest.raises(ValueError, match=r"double.*\[4, 8, 16, 16\].*`output_stride: 32`"):
        FasterRCNN(2, ResNet(18, width=4, output_stride=16, out_indices=(1, 2, 3, 4)))
    net = FasterRCNN(2, ResNet(18, width=4, output_stride=32, out_indices=(1, 2, 3, 4)), partial(FPN, channels=8))
    assert net.feature_strides == [4, 8, 16, 32]


def test_units_without_a_path_are_possible() -> None:
    net = faster_rcnn(2, neck=PlainUnit, rpn=PlainUnit, box=partial(PlainUnit, kernel_size=1))
    assert isinstance(net, FasterRCNN)
    assert net.box_head(torch.randn(1, 72, 5, 1))["box_deltas"][0].shape == (1, 4, 5, 1)


def test_the_profile_counts_the_head_for_every_proposal() -> None:
    net = faster_rcnn(2, count=20).eval()
    found = {row.name: row for row in profile(net, torch.rand(1, 3, 64, 64), lambda x: net.decode(net(x), (64, 64)))}
    first, second, outputs = (found[f"box_head.{name}"] for name in ("first.conv", "second.conv", "cls_logits"))
    assert (first.bops, first.flops) == (20 * 72 * 16, 0)
    assert (second.bops, second.flops) == (20 * 16 * 16, 0)
    assert (outputs.bops, outputs.flops) == (0, 20 * 16 * 3)
