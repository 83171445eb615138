"""Segmenters through export: every decoder with every kind of unit, bit for bit, and the classes at a picture's own pixels."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import shake
from segmenter_nets import DECODERS, KINDS, segmenter
from torch import nn

from bnn_tasks.backbones import BranchMean
from bnn_tasks.binary import BinaryConv2d
from bnn_tasks.export import ExportReport, ParityError, export
from bnn_tasks.export.class_maps import check_class_map
from bnn_tasks.models import BilinearLike, Segmenter
from bnn_tasks.runtime import Resize, Segmentation, Session

SIZE = (48, 64)
CLASSES = ["a", "b", "c"]
EXAMPLE = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def exported(net: nn.Module, folder: Path, rule: str = "stretch") -> tuple[ExportReport, Session]:
    path = folder / "net.safetensors"
    report = export(net, path, example=EXAMPLE, classes=CLASSES, resize=Resize((SIZE,), rule))
    return report, Session(path)


@pytest.mark.parametrize(("decoder", "kind"), [(d, "react") for d in DECODERS] + [("deeplabv3plus", k) for k in KINDS])
def test_every_decoder_is_proved(decoder: str, kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = shake(segmenter(decoder, kind))
    report, session = exported(net, tmp_path)
    assert report.parity.pixels == 2 * SIZE[0] * SIZE[1]
    assert report.parity.pixel_ties <= 2
    assert report.parity.output_error < 1e-4
    assert (report.parity.accumulators > 0) == (kind != "real")
    assert re.search(r"of 6,144 pixels \d+ differ in class, all ties", str(report))
    assert session.graph.class_map == "segmenter.classes"
    with torch.no_grad():
        assert session.forward(EXAMPLE.numpy()).shape == net(EXAMPLE).shape


@pytest.mark.parametrize("stride", [8, 16])
def test_dilated_stages_and_groups_of_dilated_branches(stride: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    report, session = exported(shake(segmenter("bpac", output_stride=stride, bpac_backbone=True)), tmp_path)
    assert report.parity.accumulators > 0
    dilations = {tuple(n.attrs["dilation"]) for n in session.nodes if n.op == "binary_conv2d"}
    assert {(2, 2), (3, 3), (4, 4), (5, 5)} <= dilations


def test_a_call_gives_the_nets_classes_at_the_pictures_pixels(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = shake(segmenter("deeplabv3plus"))
    _, session = exported(net, tmp_path, "letterbox")
    rng = np.random.default_rng(0)
    for height, width in ((48, 64), (100, 60), (31, 200)):
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        (found,) = session([image])
        assert isinstance(found, Segmentation)
        assert found.classes.shape == (height, width)
        assert found.classes.dtype == np.uint8
        canvas, place = Resize((SIZE,), "letterbox").fit(image)
        x = torch.from_numpy(canvas).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            classes = net.decode(net(x), SIZE)[0].numpy()
        agree = 0
        for y in range(height):
            for x_ in range(width):
                at_y = min(SIZE[0] - 1, int((y + 0.5) * place.scale_y + place.offset_y))
                at_x = min(SIZE[1] - 1, int((x_ + 0.5) * place.scale_x + place.offset_x))
                agree += found.classes[y, x_] == classes[at_y, at_x]
        assert agree / (height * width) > 0.98, "a rounding tie may differ"


@pytest.mark.parametrize("size", [(48, 64), (33, 47), (97, 130)])
def test_other_input_sizes(size: tuple[int, int], tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = shake(segmenter("skip", "real"))
    _, session = exported(net, tmp_path)
    x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = net(x)
    np.testing.assert_allclose(session.forward(x.numpy()), expected.numpy(), atol=1e-4 * float(expected.std()))
    scores = F.interpolate(expected, size=size, mode="bilinear", align_corners=False)[0]
    top = scores.topk(2, 0).values
    clear = (top[0] - top[1] > 1e-3 * float(expected.std())).numpy()
    np.testing.assert_array_equal(session.class_map(x[0].numpy())[clear], scores.argmax(0).numpy()[clear])


class _Dilated(nn.Module):
    """Branches whose taps lie mostly outside the map, and a pooled one of a single pixel."""

    def __init__(self, channels: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=2, dilation=2)
        self.real = nn.Conv2d(channels, channels, 3, padding=rates[-1], dilation=rates[-1])
        self.branches = nn.ModuleList(
            BinaryConv2d(channels, channels, 3, padding=rate, dilation=rate, method="react") for rate in rates
        )
        self.mean = BranchMean(len(rates))
        self.pool, self.conv = nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1, bias=False)
        self.bn, self.relu, self.resize = nn.BatchNorm2d(channels), nn.ReLU(), BilinearLike()

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        x = self.stem(images)
        pooled = self.resize(self.relu(self.bn(self.conv(self.pool(x)))), x)
        return [self.mean(*(branch(x) for branch in self.branches)), self.real(x), torch.cat([pooled, x], dim=1)]


@pytest.mark.parametrize("size", [(15, 20), (30, 40), (1, 7), (3, 90)])
def test_dilation_beyond_the_map(size: tuple[int, int], tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = shake(_Dilated(40, (2, 6, 12, 18, 24)))
    example = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    # Accumulators are compared with torch's integers.
    report = export(net, tmp_path / "net.safetensors", example=example)
    assert report.parity.accumulators == 5 * 40 * size[0] * size[1]


def test_a_class_map_that_is_not_the_nets_is_refused() -> None:
    torch.manual_seed(0)
    net: Segmenter = shake(segmenter("fcn32s", "real"))  # type: ignore[assignment]
    with torch.no_grad():
        logits = net(EXAMPLE[:1])
    right = net.decode(logits, SIZE)[0].numpy().astype(np.uint8)
    assert check_class_map(net, logits, logits, right) == (SIZE[0] * SIZE[1], 0)
    wrong = right.copy()
    wrong[3, 5] = (right[3, 5] + 1) % 3
    with pytest.raises(ParityError, match="below the best"):
        check_class_map(net, logits, logits, wrong)
    tied = torch.zeros_like(logits)
    assert check_class_map(net, tied, tied, wrong) == (SIZE[0] * SIZE[1], int((wrong != 0).sum()))


def test_names_and_a_rule_are_needed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name the 3 classes of a Segmenter, and `resize`"):
        export(segmenter(), tmp_path / "net.safetensors", example=EXAMPLE, classes=CLASSES)
