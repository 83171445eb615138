"""Anchors, coding and matching against torchvision."""

import math

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from bnn_tasks.models.anchors import BACKGROUND, BETWEEN, DELTA_CLIP, Anchors, decode, encode, match

STRIDES = [8, 16, 32]
SIZES = [[24.0, 40.0], [64.0, 80.0], [128.0, 200.0]]
RATIOS = (0.5, 1.0, 2.0)


def boxes(count: int, seed: int = 0, size: float = 100.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * size
    return torch.cat([corner, corner + 2 + torch.rand(count, 2, generator=generator) * size / 2], 1)


def test_anchors_are_torchvisions_moved_to_the_cells_centre() -> None:
    maps = [torch.zeros(2, 5, -(-96 // s), -(-64 // s)) for s in STRIDES]
    found = Anchors(STRIDES, SIZES, RATIOS)(maps)
    generator = AnchorGenerator(tuple(tuple(s) for s in SIZES), (RATIOS,) * 3)
    (expected,) = generator(ImageList(torch.zeros(1, 3, 96, 64), [(96, 64)]), maps)
    assert [len(level) for level in found] == [m.shape[2] * m.shape[3] * 6 for m in maps]
    shift = torch.cat([torch.full((len(level), 1), s / 2) for level, s in zip(found, STRIDES)])
    expected = expected.view(-1, 3, 2, 4).transpose(1, 2).reshape(-1, 4)  # torchvision: ratio outer, size inner
    # torchvision rounds the half sides of its base anchors to whole pixels.
    assert (torch.cat(found) - (expected + shift)).abs().max() <= 0.5


@pytest.mark.parametrize(("y", "x", "level"), [(0, 0, 0), (2, 1, 1), (0, 1, 2)])
def test_anchors_are_centred_with_exact_area_and_ratio(y: int, x: int, level: int) -> None:
    maps = [torch.zeros(1, 1, 12 // 2**i, 8 // 2**i) for i in range(3)]
    grid = Anchors(STRIDES, SIZES, RATIOS)(maps)[level].view(*maps[level].shape[2:], 6, 4)
    for index, (size, ratio) in enumerate((s, r) for s in SIZES[level] for r in RATIOS):
        x0, y0, x1, y1 = grid[y, x, index].double().tolist()
        assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx(((x + 0.5) * STRIDES[level], (y + 0.5) * STRIDES[level]))
        assert (x1 - x0) * (y1 - y0) == pytest.approx(size**2, rel=1e-5)
        assert (y1 - y0) / (x1 - x0) == pytest.approx(ratio, rel=1e-5)


@pytest.mark.parametrize(
    ("strides", "sizes", "ratios"),
    [
        ([8, 16], [[32.0]], (1.0,)),
        ([8, 16], [[32.0], [64.0, 80.0]], (1.0,)),
        ([8], [[]], (1.0,)),
        ([8], [[32.0]], ()),
        ([0], [[32.0]], (1.0,)),
        ([8], [[-32.0]], (1.0,)),
        ([8], [[32.0]], (0.0,)),
    ],
)
def test_bad_anchors(strides: list[int], sizes: list[list[float]], ratios: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"Expected"):
        Anchors(strides, sizes, ratios)


def test_coding_is_torchvisions() -> None:
    coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
    truth, anchors = boxes(50, 0), boxes(50, 1)
    deltas = encode(truth, anchors)
    torch.testing.assert_close(deltas, coder.encode_single(truth, anchors))
    wild = torch.randn(50, 4, generator=torch.Generator().manual_seed(2)) * 3
    torch.testing.assert_close(decode(wild, anchors), coder.decode_single(wild, anchors))
    torch.testing.assert_close(decode(deltas, anchors), truth, rtol=1e-4, atol=1e-3)


def test_an_endless_box_is_clipped() -> None:
    assert pytest.approx(math.log(1000 / 16)) == DELTA_CLIP
    (box,) = decode(torch.tensor([[0.0, 0.0, 1e4, 50.0]]), torch.tensor([[0.0, 0.0, 16.0, 16.0]]))
    assert (box[2:] - box[:2]).tolist() == pytest.approx([1000, 1000], rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("thresholds", [(0.5, 0.4), (0.5, 0.5), (0.7, 0.3)])
def test_matching_is_torchvisions_with_low_quality_matches(seed: int, thresholds: tuple[float, float]) -> None:
    iou = box_iou(boxes(6, seed), boxes(300, seed + 100))
    assert (iou.max(dim=1).values > 0).all()
    expected = Matcher(*thresholds, allow_low_quality_matches=True)(iou)
    assert torch.equal(match(iou, *thresholds), expected)


def test_ties_keep_every_best_anchor() -> None:
    iou = torch.tensor([[0.3, 0.3, 0.1], [0.0, 0.2, 0.45]])
    assert match(iou, 0.5, 0.4).tolist() == [0, 0, 1]
    assert Matcher(0.5, 0.4, allow_low_quality_matches=True)(iou).tolist() == [0, 0, 1]


def test_an_object_that_meets_no_anchor_takes_none() -> None:
    """torchvision would hand it every anchor that overlaps it by 0."""
    iou = torch.tensor([[0.0, 0.0, 0.0], [0.6, 0.45, 0.1]])
    assert match(iou, 0.5, 0.4).tolist() == [1, BETWEEN, BACKGROUND]
