"""A mask follows its picture through window, flip and crop; against a per-pixel twin."""

import math

import numpy as np
import pytest
import torch

from bnn_tasks.data import ScaleCropFlip
from bnn_tasks.data.segmentation.canvas import draw_mask
from bnn_tasks.runtime.images import Placement, Resize

RNG = np.random.default_rng(0)
STILL = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}


def naive_shown(scale, offset, length, side):
    """Canvas pixel -> picture pixel under its centre, for the pixels that the picture covers whole; one where it has less.

    A flipped one lies where it would be drawn unflipped, seen from the other side.
    """
    if scale < 0:
        mirrored = naive_shown(-scale, side - offset, length, side)
        return {side - 1 - pixel: shown for pixel, shown in mirrored.items()}
    shown = {}
    for pixel in range(side):
        edges = [(edge - offset) / scale for edge in (pixel, pixel + 1)]
        if min(edges) >= -1e-5 and max(edges) <= length + 1e-5:
            shown[pixel] = sum(edges) / 2
    low, high = sorted((offset, offset + scale * length))
    if not shown and max(low, 0) < min(high, side):
        pixel = math.floor(max(low, 0))
        shown[pixel] = (pixel + 0.5 - offset) / scale
    return {pixel: min(max(math.floor(centre), 0), length - 1) for pixel, centre in shown.items()}


def naive_mask(mask, placement, size):
    """Pixel by pixel: the label under the pixel's centre, void where the picture is not drawn."""
    canvas = np.full(size, 255, np.uint8)
    columns = naive_shown(placement.scale_x, placement.offset_x, mask.shape[1], size[1])
    for i, y in naive_shown(placement.scale_y, placement.offset_y, mask.shape[0], size[0]).items():
        for j, x in columns.items():
            canvas[i, j] = mask[y, x]
    return canvas


@pytest.mark.parametrize("seed", range(30))
def test_a_mask_is_sampled_at_the_pixels_centres(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 12, 2).tolist()
    mask = rng.integers(0, 256, (height, width)).astype(np.uint8)
    scale = np.exp(rng.uniform(-1.5, 1.5, 2)) * rng.choice([-1, 1], 2)
    offset = rng.uniform(-8, 20, 2)
    placement = Placement(*scale.tolist(), *offset.tolist(), width, height)
    np.testing.assert_array_equal(draw_mask(mask, placement, (9, 13)), naive_mask(mask, placement, (9, 13)))


def test_a_picture_off_the_canvas_is_all_void():
    mask = np.zeros((4, 4), np.uint8)
    for offset in (-100.0, 100.0):
        assert (draw_mask(mask, Placement(1.0, 1.0, offset, 0.0, 4, 4), (6, 6)) == 255).all()


def test_a_picture_thinner_than_a_pixel_has_its_label():
    resize = Resize(((8, 8),))
    mask = np.full((40, 2), 3, np.uint8)
    canvas, placement = resize.fit(np.full((40, 2, 3), 255, np.uint8))
    drawn = canvas[..., 0] == 255
    assert drawn.any()
    np.testing.assert_array_equal(draw_mask(mask, placement, (8, 8)) == 3, drawn)


@pytest.mark.parametrize("seed", range(20))
def test_a_thin_picture_and_its_mask_are_flipped_alike(seed):
    """Up to two canvas pixels wide, anywhere: the mask has its label exactly where the canvas has the picture's colour."""
    torch.manual_seed(seed)
    augment = ScaleCropFlip((0.5, 2.0), 1.5, 1.0, 1.0, **STILL)
    for shape in ((40, 3), (3, 40)):
        image, mask = np.full((*shape, 3), 255, np.uint8), np.full(shape, 3, np.uint8)
        canvas, drawn, _ = augment(image, mask, Resize(((16, 16),)), (16, 16))
        np.testing.assert_array_equal(drawn == 3, canvas[..., 0] == 255)


@pytest.mark.parametrize("rule", ["stretch", "letterbox"])
def test_a_whole_factor_copies_the_labels(rule):
    mask = RNG.integers(0, 5, (4, 6)).astype(np.uint8)
    resize = Resize(((12, 18),), rule)
    _, placement = resize.fit(np.zeros((4, 6, 3), np.uint8))
    np.testing.assert_array_equal(draw_mask(mask, placement, (12, 18)), mask.repeat(3, 0).repeat(3, 1))


def test_outside_a_letterboxed_picture_is_void():
    resize = Resize(((10, 20),), "letterbox")
    image = np.zeros((5, 5, 3), np.uint8)
    canvas, placement = resize.fit(image)
    drawn = draw_mask(np.full((5, 5), 3, np.uint8), placement, (10, 20))
    np.testing.assert_array_equal(drawn == 255, canvas[..., 0] == 114)
    assert set(np.unique(drawn).tolist()) == {3, 255}


@pytest.mark.parametrize("size", [(24, 32), (9, 7), (60, 90)])  # smaller and larger than the picture, odd
@pytest.mark.parametrize("rule", ["stretch", "letterbox"])
def test_picture_and_mask_are_moved_together(size, rule):
    """Labels are painted into the picture; where four neighbours on the canvas agree, the colour says the label."""
    mask = (RNG.integers(0, 4, (5, 7)).repeat(8, 0).repeat(8, 1) * 50).astype(np.uint8)
    mask[:8, :8] = 255
    image = np.stack([mask] * 3, -1)
    augment = ScaleCropFlip((0.5, 2.0), 1.3, 0.5, 0.5, **STILL)
    torch.manual_seed(0)
    seen_outside = 0
    for _ in range(12):
        canvas, drawn, placement = augment(image, mask, Resize((size,), rule), size)
        np.testing.assert_array_equal(drawn, naive_mask(mask, placement, size))
        assert set(np.unique(drawn).tolist()) <= {0, 50, 100, 150, 255}
        outside = canvas[..., 0] == 114  # no label is painted so, but a mixture may be
        inner = naive_mask(np.zeros_like(mask), placement, size) == 0
        assert (outside[~inner]).all()
        assert (drawn[~inner] == 255).all()
        seen_outside += int((~inner).sum())
        sides = np.abs([placement.scale_y, placement.scale_x]) * 8
        if sides.min() < 6:
            continue
        far = _far_from_edges(drawn)
        assert (canvas[far & inner, 0] == drawn[far & inner]).all()
    assert seen_outside > 0


def _far_from_edges(drawn):
    """Whose neighbours up to two pixels away have the same label."""
    same = np.ones(drawn.shape, bool)
    padded = np.pad(drawn.astype(int), 2, constant_values=-1)
    height, width = drawn.shape
    for dy in range(5):
        for dx in range(5):
            same &= padded[dy : dy + height, dx : dx + width] == drawn
    return same


def test_colours_move_in_the_picture_alone():
    image, mask = RNG.integers(0, 256, (12, 16, 3)).astype(np.uint8), RNG.integers(0, 9, (12, 16)).astype(np.uint8)
    augment = ScaleCropFlip((1.0, 1.0), 1.0, 0.0, brightness=1.0)
    torch.manual_seed(1)
    canvas, drawn, _ = augment(image, mask, Resize(((12, 16),)), (12, 16))
    assert (canvas != image).any()
    np.testing.assert_array_equal(drawn, mask)


def test_one_seed_draws_the_same_again():
    image, mask = RNG.integers(0, 256, (12, 16, 3)).astype(np.uint8), RNG.integers(0, 9, (12, 16)).astype(np.uint8)
    draws = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        draws.append(ScaleCropFlip()(image, mask, Resize(((24, 32),)), (24, 32))[1])
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()


@pytest.mark.parametrize("options", [{"scale": (0, 1)}, {"aspect": 3}, {"hflip": 2}, {"hue": 0.6}])
def test_bad_ranges_are_refused(options):
    with pytest.raises(ValueError, match=f"Expected `{next(iter(options))}`"):
        ScaleCropFlip(**options)
