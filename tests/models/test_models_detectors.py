"""What RetinaNet, Faster R-CNN and SSD have in common: which targets they take, and weights of other types."""

import copy
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from nets import retinanet, shake
from two_stage_nets import faster_rcnn, sharpen

from bnn_tasks.backbones import LocalUnit, ReActUnit
from bnn_tasks.backbones.vgg16 import VGG16
from bnn_tasks.models import Detector
from bnn_tasks.models.fpn import FPN
from bnn_tasks.models.retinanet_head import Tower
from bnn_tasks.models.ssd import SSD
from bnn_tasks.models.ssd_extras import SSDExtras

CLASSES = 3
BOX = (5.0, 5, 40, 40)


def ssd(num_classes: int) -> SSD:
    return SSD(num_classes, VGG16(ReActUnit, 2), partial(SSDExtras, width=2))


DETECTORS = {
    "retinanet": (retinanet, (64, 64)),
    "faster_rcnn": (faster_rcnn, (64, 64)),
    "ssd": (ssd, (257, 257)),
}


def target(*labels: int) -> SimpleNamespace:
    none = torch.zeros(len(labels), dtype=torch.bool)
    boxes = torch.tensor([BOX] * len(labels)).reshape(-1, 4)
    return SimpleNamespace(boxes=boxes, labels=torch.tensor(labels, dtype=torch.int64), ignore=none, crowd=none)


@pytest.mark.parametrize("name", DETECTORS)
def test_targets_that_are_not_the_batchs_are_refused(name: str) -> None:
    make, size = DETECTORS[name]
    net: Detector = make(CLASSES).eval()
    outputs = net(torch.rand(2, 3, *size))
    for label in (-1, CLASSES, CLASSES + 1):
        with pytest.raises(
            ValueError, match=rf"labels in 0 \.\.\. 2, but got .*{label}\b.*torchvision's 1 \.\.\. K less one"
        ):
            net.loss(outputs, [target(0, label), target(2)])
    for count in (0, 1, 3):
        with pytest.raises(ValueError, match=f"one target an image, but got {count} for 2 images"):
            net.loss(outputs, [target(0)] * count)
    for targets in ([target(), target()], [target(0, 2), target()]):
        assert all(torch.isfinite(value) for value in net.loss(outputs, targets).values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("name", DETECTORS)
def test_weights_of_other_types_train_and_detect(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    make, size = DETECTORS[name]
    reference = shake(make(CLASSES))
    if name == "faster_rcnn":
        sharpen(reference)
    reference.score_threshold = 0.0
    net = copy.deepcopy(reference).to(dtype)
    x = torch.rand(2, 3, *size)
    for precise in (torch.float32, dtype):
        targets = [target(1), target()]
        for truth in targets:
            truth.boxes = truth.boxes.to(precise)
        sum(net.train().loss(net(x.to(dtype)), targets).values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)
    with torch.no_grad():
        net = copy.deepcopy(reference).to(dtype).eval()
        found = net.decode(net(x.to(dtype)), size)
        expected = reference.decode(reference(x), size)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.boxes.dtype == ours.scores.dtype == torch.float32
        assert len(ours.scores)
        if dtype == torch.float64:  # the narrow types' signs differ
            assert ours.scores[:5].tolist() == pytest.approx(theirs.scores[:5].tolist(), rel=1e-3)


def test_a_pyramids_further_levels_double_the_stride() -> None:
    assert FPN([4, 8], 8, extra_levels=2).strides([8, 16]) == [8, 16, 32, 64]
    assert FPN([4, 8], 8).strides([16, 16]) == [16, 16]


@pytest.mark.parametrize("unit", [ReActUnit, LocalUnit])
def test_a_towers_levels_share_the_main_convolution_alone(unit: Callable) -> None:
    tower = Tower(8, 2, 3, unit)
    for first, *others in zip(*tower.levels, strict=True):
        shared = set(first.conv.parameters())
        for other in others:
            assert {p for p in first.parameters() if any(p is q for q in other.parameters())} == shared
