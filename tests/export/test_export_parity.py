"""Whole nets: the artifact gives what the module gives, from raw outputs to boxes on pictures."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from naive import box_iou
from nets import retinanet, shake
from torch import Tensor, nn

from bnn_tasks.backbones import (
    BLOCKS,
    BOTTLENECKS,
    AlexNet,
    BACPUnit,
    CBAPUnit,
    GroupStage,
    PlainUnit,
    ReActUnit,
    RealUnit,
    ResNet,
    SoftGate,
    VGGSmall,
)
from bnn_tasks.binary import BinaryConv2d, ShiftBatchNorm2d, binarize, get_method, set_progress, tie_to_size
from bnn_tasks.export import export
from bnn_tasks.models import Detector
from bnn_tasks.runtime import Resize, Session


def flat(value: object) -> list:
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in flat(value[key])]
    return [leaf for item in value for leaf in flat(item)] if isinstance(value, list | tuple) else [value]


@torch.no_grad()
def check_outputs(net: nn.Module, path: Path, x: Tensor) -> Session:
    """Export proves equality given the same bits; with no tie among them it must hold end to end."""
    report = export(net, path / "net.safetensors", example=x)
    assert report.parity.images == len(x)
    assert report.parity.output_error <= 1e-3
    assert report.parity.ties <= 1e-4 * report.parity.bits
    assert report.binary_layers == len([m for m in net.modules() if isinstance(m, BinaryConv2d)])
    signed = [m for m in net.modules() if isinstance(m, BinaryConv2d) and get_method(m.method_name).binary_activations]
    assert (report.parity.bits > 0) == (report.parity.accumulators > 0) == bool(signed)
    session = Session(path / "net.safetensors")
    if report.parity.ties == 0:
        found, expected = flat(session.forward(x.numpy())), flat(net(x))
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected):
            assert np.abs(ours - theirs.numpy()).max() <= 1e-3 * float(theirs.std())
    return session


@pytest.mark.parametrize("size", [(64, 64), (33, 47)], ids=str)
@pytest.mark.parametrize("block", BLOCKS)
def test_classifiers(block: str, size: tuple[int, int], tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = shake(timm.create_model("bnn_resnet18", block=block, width=6, num_classes=5))
    check_outputs(net, tmp_path, torch.rand(2, 3, *size))


@pytest.mark.parametrize(
    "method", ["abc_net", "adabin", "bitwise", "bwn", "cbcn", "dorefa", "horq", "ir_net", "xnor_k", "xnor_pp_full"]
)
def test_backbones_of_other_methods(method: str, tmp_path: Path) -> None:
    """Every method on two blocks is in test_export_methods.py; here its layers meet a whole net."""
    torch.manual_seed(0)
    block = "plain" if get_method(method).binary_activations else "weight_only"
    net = ResNet(18, partial(BLOCKS[block], method=method), 4, 3, out_indices=(1, 2))
    x = torch.rand(1, 3, 24, 28)
    set_progress(net, 1.0)
    tie_to_size(net, x)
    check_outputs(shake(net), tmp_path, x)


NETWORKS = {
    "VGG-small": lambda: VGGSmall(width=8),
    "AlexNet": lambda: AlexNet(partial(CBAPUnit, method="bnn"), width=2),
    "AlexNet at output stride 8": lambda: AlexNet(BACPUnit, 2, (0, 1, 2), output_stride=8),
    "bottlenecks that shrink and grow": lambda: nn.Sequential(
        nn.Conv2d(3, 16, 3), BOTTLENECKS["react"](16, 8, 1), BOTTLENECKS["bireal"](8, 16, 2)
    ),
    "gated branches": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3), GroupStage(BLOCKS["plain"], 8, 16, 2, 2, branches=3, dilations=(1, 2, 3))
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_other_networks(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = shake(NETWORKS[name]())
    for gate in net.modules():
        if isinstance(gate, SoftGate):
            nn.init.normal_(gate.theta)
    check_outputs(net, tmp_path, torch.rand(1, 3, 40, 48))


@pytest.mark.parametrize("folded", [True, False])
def test_power_of_two_batchnorms(folded: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    last = nn.Identity() if folded else nn.ReLU()
    first, second = (BinaryConv2d(8, 8, 3, padding=1, method="bnn") for _ in range(2))
    net = nn.Sequential(nn.Conv2d(3, 8, 3), first, ShiftBatchNorm2d(8), last, ShiftBatchNorm2d(8), second)
    net.train()(torch.rand(8, 3, 20, 24))
    report = export(shake(net), tmp_path / "net.safetensors", example=torch.rand(2, 3, 20, 24))
    assert report.folded == int(folded)
    check_outputs(net, tmp_path, torch.rand(2, 3, 20, 24))


def test_plain_blocks_are_folded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = shake(ResNet(18, BLOCKS["plain"], 4, 3))
    report = export(net, tmp_path / "net.safetensors", example=torch.rand(1, 3, 32, 32))
    assert (report.binary_layers, report.folded) == (16, 8)  # the second convolution of every block


DETECTORS = [  # backbone, unit of neck and head, depth of the towers, levels beyond the backbone's
    ("react", ReActUnit, 2, 1),
    ("react", RealUnit, 1, 0),
    ("real", ReActUnit, 1, 0),
    ("real", RealUnit, 1, 0),
    ("plain", PlainUnit, 2, 1),
    ("bireal", PlainUnit, 1, 0),
]


def structured(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A picture with edges and areas, unlike noise: uint8 RGB."""
    canvas = np.full((height, width, 3), rng.integers(0, 255, 3), np.float64)
    canvas += np.linspace(0, 60, width)[None, :, None]
    for _ in range(6):
        y, x = rng.integers(0, height - 4), rng.integers(0, width - 4)
        h, w = rng.integers(4, height // 2), rng.integers(4, width // 2)
        canvas[y : y + h, x : x + w] = rng.integers(0, 255, 3)
    return (canvas + rng.normal(0, 4, canvas.shape)).clip(0, 255).astype(np.uint8)


@torch.no_grad()
def check_detections(net: Detector, session: Session) -> None:
    """Session(images) against torch's decode of the same canvas, moved back to the picture."""
    rng = np.random.default_rng(0)
    matched = total = 0
    for height, width in ((90, 120), (131, 77), (50, 160)):
        image = structured(rng, height, width)
        canvas, placement = session.resize.fit(image)
        x = torch.from_numpy(canvas).permute(2, 0, 1)[None].float() / 255
        (expected,) = net.decode(net(x), canvas.shape[:2])
        boxes = placement.to_image(expected.boxes.numpy())
        (found,) = session([image])
        assert found.boxes.dtype == np.float32
        assert (found.boxes >= 0).all()
        assert (found.boxes[:, 2::2] <= width).all()
        assert (found.boxes[:, 1::2] <= height).all()
        free = list(range(len(found)))
        for box, score, label in zip(boxes, expected.scores.tolist(), expected.labels.tolist()):
            alike = [i for i in free if found.labels[i] == label and abs(found.scores[i] - score) <= 0.01]
            best = max(alike, key=lambda i: box_iou(found.boxes[i], box), default=None)
            flat_box = min(box[2] - box[0], box[3] - box[1]) <= 0  # clipped away to a line
            if best is not None and (flat_box or box_iou(found.boxes[best], box) >= 0.95):
                free.remove(best)
                matched += 1
        total += len(boxes)
    assert total >= 20
    assert matched >= 0.995 * total, (matched, total)


@pytest.mark.parametrize(
    ("block", "unit", "depth", "extra"),
    DETECTORS,
    ids=lambda v: getattr(v, "__name__", str(v)),
)
def test_detectors(block: str, unit: type, depth: int, extra: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = retinanet(3, BLOCKS[block], unit, width=6, depth=depth, extra_levels=extra, score_threshold=0.02)
    shake(net)
    nn.init.normal_(net.head.cls_logits.weight, std=0.2)
    nn.init.normal_(net.head.box_deltas.weight, std=0.05)
    x = torch.from_numpy(structured(np.random.default_rng(1), 64, 80)).permute(2, 0, 1)[None].float() / 255
    report = export(
        net, tmp_path / "net.safetensors", example=x, classes=["a", "b", "c"], resize=Resize(((64, 80), (80, 64)))
    )
    layers = [m for m in net.modules() if isinstance(m, BinaryConv2d)]
    assert (report.binary_layers > 0) == bool(layers)
    if unit is PlainUnit and depth == 2:
        levels = net.neck.levels
        assert report.folded == 8 + 2 * levels, "backbone blocks, and the second unit of two towers at every level"
    session = Session(tmp_path / "net.safetensors")
    assert session.classes == ("a", "b", "c")
    assert session.resize.sizes == ((64, 80), (80, 64))
    with torch.no_grad():
        expected, found = net(x), session.forward(x.numpy())
    assert set(expected) == set(found)
    if report.parity.ties == 0:
        for name, maps in expected.items():
            for ours, theirs in zip(found[name], maps, strict=True):
                assert np.abs(ours - theirs.numpy()).max() <= 1e-3 * max(float(theirs.std()), 1e-3), name
    check_detections(net, session)


def test_torchvisions_resnet18_binarised(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = binarize(torchvision.models.resnet18(num_classes=4), "xnor", keep=["conv1", "fc", "*downsample*"])
    report = export(shake(net), tmp_path / "net.safetensors", example=torch.rand(1, 3, 32, 32))
    assert report.binary_layers == 16
    assert report.folded == 8  # every conv2 reads bn1 alone
    assert report.float_bytes / report.file_bytes > 15


def test_a_densenet_binarised(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = torchvision.models.DenseNet(4, (2, 2), num_init_features=8, num_classes=3)
    check_outputs(
        shake(binarize(net, "react", keep=["features.conv0", "classifier"])), tmp_path, torch.rand(1, 3, 64, 64)
    )
