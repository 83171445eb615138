"""SSD as an artifact: the bits, raw outputs and detections of the torch net, whatever of it is binary."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import shake
from torch import nn
from torchvision.ops import box_iou

from bnn_tasks.backbones import BiRealUnit, ChannelPath, PlainUnit, ReActUnit, RealUnit
from bnn_tasks.backbones.vgg16 import VGG16
from bnn_tasks.binary import BinaryConv2d
from bnn_tasks.export import export
from bnn_tasks.models.l2_norm import L2Norm
from bnn_tasks.models.ssd import SSD
from bnn_tasks.models.ssd_extras import SSDExtras
from bnn_tasks.models.ssd_head import SSDHead, UnitSSDHead
from bnn_tasks.runtime import Resize, Session
from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.kinds import Boxes, FloatMap
from bnn_tasks.runtime.ops import OPS

SIZES = ((270, 300), (300, 257))
WITHOUT_WEIGHTS = partial(ReActUnit, path=ChannelPath)


def ssd(unit: type[nn.Module], head: type[nn.Module], width: int = 3) -> SSD:
    torch.manual_seed(0)
    net = SSD(3, VGG16(unit, width), partial(SSDExtras, width=width, unit=unit), head, score_threshold=0.05)
    shake(net)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 1.0
    with torch.no_grad():  # statistics of such pictures: a map of one value would give scores that are all the same
        net.train()(torch.cat([batch(picture(seed, *SIZES[0])) for seed in (3, 4, 5)]))
    for predictor in net.head.modules():
        if isinstance(predictor, nn.Conv2d):
            nn.init.normal_(predictor.weight, std=0.05)
    return net.eval()


def picture(seed: int, height: int, width: int) -> np.ndarray:
    """Uint8 RGB with edges and areas, unlike noise."""
    rng = np.random.default_rng(seed)
    canvas = np.full((height, width, 3), rng.integers(0, 255, 3), np.float64)
    for _ in range(8):
        y, x, h, w = rng.integers(0, height - 8), rng.integers(0, width - 8), *rng.integers(8, 120, 2)
        canvas[y : y + h, x : x + w] = rng.integers(0, 255, 3)
    return (canvas + rng.normal(0, 4, canvas.shape)).clip(0, 255).astype(np.uint8)


def batch(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


@torch.no_grad()
@pytest.mark.parametrize(
    ("unit", "head"),
    [
        (WITHOUT_WEIGHTS, UnitSSDHead),
        (WITHOUT_WEIGHTS, SSDHead),
        (BiRealUnit, SSDHead),
        (PlainUnit, UnitSSDHead),
        (RealUnit, SSDHead),
        (RealUnit, partial(UnitSSDHead, unit=RealUnit)),
    ],
    ids=["react, binary head", "react", "bireal", "plain, binary head", "real", "real, units as head"],
)
def test_ssd(unit: type[nn.Module], head: type[nn.Module], tmp_path: Path) -> None:
    net = ssd(unit, head)
    path = tmp_path / "net.safetensors"
    x = batch(picture(9, *SIZES[0]))
    report = export(net, path, example=x, classes=["a", "b", "c"], resize=Resize(SIZES, "stretch"))
    assert report.binary_layers == len([m for m in net.modules() if isinstance(m, BinaryConv2d)])
    if unit is PlainUnit:
        assert report.folded == 12  # every unit that reads another one's output alone: 8 in the backbone, 4 behind it
    assert report.parity.output_error <= 1e-3
    session = Session(path)
    expected, found = net(x), session.forward(x.numpy())
    assert set(expected) == set(found)
    assert [m.shape for m in expected["cls_logits"]] == [m.shape for m in found["cls_logits"]]
    if report.parity.ties == 0:
        for name, maps in expected.items():
            for ours, theirs in zip(found[name], maps, strict=True):
                assert np.abs(ours - theirs.numpy()).max() <= 1e-3 * float(theirs.std()), name
    matched = total = 0
    for seed, size in enumerate(SIZES):
        image = picture(seed, *size)
        (wanted,) = net.decode(net(batch(image)), size)
        (detected,) = session([image])
        same = box_iou(wanted.boxes, torch.from_numpy(detected.boxes)) >= 0.95
        same &= wanted.labels[:, None] == torch.from_numpy(detected.labels)
        same &= (wanted.scores[:, None] - torch.from_numpy(detected.scores)).abs() <= 0.01
        matched += int(same.any(dim=1).sum())
        total += len(wanted.boxes)
    assert total >= 20
    assert matched >= 0.99 * total, (matched, total)


@torch.no_grad()
def test_the_runtime_refuses_images_below_the_smallest_size(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    net = ssd(PlainUnit, SSDHead, 1)
    export(net, path, example=torch.rand(1, 3, 257, 257), classes=["a", "b", "c"], resize=Resize(SIZES, "stretch"))
    with pytest.raises(ValueError, match="257"):
        Session(path).forward(np.zeros((1, 3, 256, 300), np.float32))


@torch.no_grad()
def test_l2_norm_of_a_map_with_a_pixel_of_zeros(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(L2Norm(5))
    net[0].weight.data.uniform_(1, 30)
    x = torch.randn(2, 5, 4, 6)
    x[0, :, 2, 3] = 0
    export(net, tmp_path / "net.safetensors", example=x)
    np.testing.assert_allclose(Session(tmp_path / "net.safetensors").forward(x.numpy()), net(x), rtol=1e-5, atol=1e-6)


def test_boxes_are_joined_in_order() -> None:
    join = OPS["join_boxes"]
    parts = [np.arange(4 * n, dtype=np.float32).reshape(n, 4) + 100 * n for n in (2, 1, 3)]
    (joined,) = join.run(parts, {}, {}, None)
    assert joined.tolist() == [row for part in parts for row in part.tolist()]
    assert join.infer([Boxes(2), Boxes(1), Boxes(3)], {}, {}) == [Boxes(6)]
    assert join.infer([Boxes(2), Boxes(None)], {}, {}) == [Boxes(None)]
    with pytest.raises(GraphError, match="Expected boxes"):
        join.infer([Boxes(2), FloatMap(4, 1, 1)], {}, {})
