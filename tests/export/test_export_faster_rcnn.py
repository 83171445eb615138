"""Faster R-CNN whole: proposals, RoIAlign and the box head in the artifact give what the module gives."""

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from naive import box_iou
from nets import shake
from torch import Tensor
from two_stage_nets import faster_rcnn, sharpen

from bnn_tasks.backbones import BLOCKS, PlainUnit, ReActUnit, RealUnit
from bnn_tasks.binary import BinaryConv2d
from bnn_tasks.export import ExportReport, ParityError, export
from bnn_tasks.export.regions import check_proposals
from bnn_tasks.models.box_head import BinaryRegionUnit, RealRegionUnit
from bnn_tasks.models.faster_rcnn import FasterRCNN
from bnn_tasks.models.proposals import Candidates, Proposals
from bnn_tasks.runtime import Resize, Session

SIZE = (64, 80)
PARTS = {  # backbone, neck, RPN head, box head
    "binary": ("react", ReActUnit, ReActUnit, BinaryRegionUnit),
    "real": ("real", RealUnit, RealUnit, RealRegionUnit),
    "only the box head": ("real", RealUnit, RealUnit, BinaryRegionUnit),
    "all but the box head": ("react", ReActUnit, ReActUnit, RealRegionUnit),
    "plain": ("plain", PlainUnit, PlainUnit, partial(PlainUnit, kernel_size=1)),
}
STAGES = ("backbone", "neck", "rpn_head", "box_head")


def net_of(name: str, **arguments: object) -> FasterRCNN:
    torch.manual_seed(0)
    block, *units = PARTS[name]
    return sharpen(shake(faster_rcnn(3, BLOCKS[block], *units, **arguments)))


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    """Areas and edges, uint8 RGB of the input size."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        canvas = np.full((*SIZE, 3), rng.integers(0, 255, 3), np.float64)
        for _ in range(6):
            y, x, h, w = (int(v) for v in rng.integers((0, 0, 6, 6), (50, 60, 40, 40)))
            canvas[y : y + h, x : x + w] = rng.integers(0, 255, 3)
        made.append((canvas + rng.normal(0, 4, canvas.shape)).clip(0, 255).astype(np.uint8))
    return made


def batch(images: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def write(net: FasterRCNN, folder: Path) -> ExportReport:
    return export(
        net, folder / "net.safetensors", example=batch(pictures(1)), classes=["a", "b", "c"], resize=Resize((SIZE,))
    )


@torch.no_grad()
@pytest.mark.parametrize("name", PARTS)
def test_artifacts_find_what_the_module_finds(name: str, tmp_path: Path) -> None:
    net = net_of(name, extra_levels=1 if name == "binary" else 0)
    report = write(net, tmp_path)
    levels = net.neck.levels
    layers = {part: sum(isinstance(m, BinaryConv2d) for m in net.get_submodule(part).modules()) for part in STAGES}
    assert (
        report.binary_layers
        == layers["backbone"] + layers["neck"] + levels * bool(layers["rpn_head"]) + layers["box_head"]
    )
    assert (report.parity.accumulators > 0) == (report.binary_layers > 0)
    if name == "plain":
        assert report.folded == 8 + 1, "backbone blocks, and the second layer of the box head"
    session = Session(tmp_path / "net.safetensors")
    images = pictures(3, seed=1)
    x = batch(images)
    expected, found = net(x), session.forward(x.numpy())
    assert {k: [m.shape for m in v] for k, v in found.items()} == {
        k: [tuple(m.shape) for m in v] for k, v in expected.items()
    }
    total = matched = 0
    for image, wanted in zip(images, net.decode(expected, SIZE), strict=True):
        (detections,) = session([image])
        total += len(wanted.scores)
        free = list(range(len(detections)))
        for box, score, label in zip(wanted.boxes.numpy(), wanted.scores.tolist(), wanted.labels.tolist()):
            alike = [i for i in free if detections.labels[i] == label and abs(detections.scores[i] - score) <= 0.01]
            best = max(alike, key=lambda i: box_iou(detections.boxes[i], box), default=None)
            if best is not None and box_iou(detections.boxes[best], box) >= 0.95:
                free.remove(best)
                matched += 1
    assert total >= 20
    assert matched >= 0.97 * total, (matched, total)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        ("box_head.first.conv.weight", r"accumulators of 'box_head\.first\.conv'"),
        ("box_head.second.conv.weight", r"accumulators of 'box_head\.second\.conv'"),
        ("box_head.first.bn.shift", r"signs before 'box_head\.second\.conv'.*distance"),
        ("box_head.cls_logits.bias", r"raw outputs"),
        ("box_head.box_deltas.weight", r"raw outputs"),
        ("detector.anchors.base", r"Expected proposal 0"),
    ],
)
def test_a_wrong_tensor_of_the_second_stage_is_found(
    tensor: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bnn_tasks.export import writer

    real_save = writer.save

    def save(path: Path, graph: object, tensors: dict[str, np.ndarray]) -> object:
        spoilt = {name: array.copy() for name, array in tensors.items()}
        if spoilt[tensor].dtype == np.uint8:
            spoilt[tensor][0, 0] ^= 1
        else:
            spoilt[tensor] += 0.2
        return real_save(path, graph, spoilt)

    monkeypatch.setattr(writer, "save", save)
    with pytest.raises(ParityError, match=message):
        write(net_of("binary"), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("proposals", {"iou_threshold": 0.3}),
        ("proposals", {"min_size": 25.0}),
        ("proposals", {"top_k": 4}),
        ("proposals", {"weights": [1.0, 1.0, 1.1, 1.0]}),
        ("roi_align", {"sampling_ratio": 1}),
        ("roi_align", {"canonical_size": 20.0}),
    ],
    ids=str,
)
def test_a_wrong_setting_between_the_stages_is_found(
    op: str, attrs: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bnn_tasks.export import writer

    real_save = writer.save

    def save(path: Path, graph: object, tensors: dict[str, np.ndarray]) -> object:
        nodes = tuple(dataclasses.replace(n, attrs=n.attrs | attrs) if n.op == op else n for n in graph.nodes)
        return real_save(path, dataclasses.replace(graph, nodes=nodes), tensors)

    monkeypatch.setattr(writer, "save", save)
    with pytest.raises(ParityError, match="proposal" if op == "proposals" else "raw outputs"):
        write(net_of("only the box head"), tmp_path)


def candidates(*rows: tuple[tuple[float, ...], float, int]) -> Candidates:
    """(box, logit, level) each."""
    boxes, logits, levels = zip(*rows)
    return Candidates(torch.tensor(boxes), torch.tensor(logits), torch.tensor(levels))


# The second overlaps the first by 0.7 but for a rounding, and the third by 0.82; the fourth the third by 0.65.
CHAIN = candidates(
    ((0.0, 0.0, 10.0, 10.0), 3.0, 0),
    ((0.0, 0.0, 10.0, 7.000001), 2.0, 0),
    ((0.0, 0.0, 10.0, 5.75), 1.0, 0),
    ((0.0, 0.0, 10.0, 3.75), 0.0, 0),
    ((0.0, 0.0, 10.0, 10.0), -1.0, 1),
)


@pytest.mark.parametrize(
    ("chosen", "fault"),
    [
        ([0, 2, 3, 4], None),  # the tie dropped
        ([0, 1, 3, 4], None),  # the tie kept: another one is suppressed, and nothing is wrong
        ([0, 1, 2, 3], "Expected proposal 2"),  # kept although the tie suppresses it
        ([0, 3, 4], "Expected proposal 1"),  # missing
        ([2, 0, 3, 4], "Expected proposal 0"),  # another order
        ([0, 2, 3], "Expected proposal 3"),  # another level's is not suppressed
        ([0, 2, 3, 4, 4], "rows of zeros"),
    ],
    ids=str,
)
def test_a_tie_of_suppression_is_told_from_a_fault(chosen: list[int], fault: str | None) -> None:
    rule = Proposals(count=6)
    regions = np.zeros((6, 4), np.float32)
    regions[: len(chosen)] = CHAIN.boxes[chosen].numpy()
    if fault is None:
        check_proposals(CHAIN, rule, regions)
    else:
        with pytest.raises(ParityError, match=fault):
            check_proposals(CHAIN, rule, regions)


def test_a_cut_list_and_a_tie_of_size_are_right_too() -> None:
    check_proposals(CHAIN, Proposals(count=2), CHAIN.boxes[[0, 2]].numpy())
    edge = candidates(((0.0, 0.0, 1.0, 0.9999999), 1.0, 0), ((5.0, 5.0, 9.0, 9.0), 0.0, 0))
    for chosen in ([0, 1], [1]):
        regions = np.zeros((3, 4), np.float32)
        regions[: len(chosen)] = edge.boxes[chosen].numpy()
        check_proposals(edge, Proposals(count=3), regions)
    with pytest.raises(ParityError, match="Expected proposal 0"):
        check_proposals(edge, Proposals(count=3, min_size=0.5), np.zeros((3, 4), np.float32))
