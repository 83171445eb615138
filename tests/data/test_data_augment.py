import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from bnn_tasks.data import Augment
from bnn_tasks.data.detection.view import View
from bnn_tasks.runtime.images import Placement, Resize

GEOMETRY_ONLY = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
COLOUR_ONLY = {"scale": (1, 1), "aspect": 1, "hflip": 0, **GEOMETRY_ONLY}
RNG = np.random.default_rng(0)
PHOTO = RNG.integers(40, 200, (30, 40, 3), np.uint8)
WHOLE = Resize(((30, 40),))


@pytest.mark.parametrize("rule", ["letterbox", "stretch"])
@pytest.mark.parametrize("seed", range(25))
def test_a_drawn_rectangle_moves_as_its_box_does(seed, rule):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(60, 200, 2)
    x0, y0 = rng.integers(0, width - 20), rng.integers(0, height - 20)
    x1, y1 = rng.integers(x0 + 15, width), rng.integers(y0 + 15, height)
    image = np.zeros((height, width, 3), np.uint8)
    image[y0:y1, x0:x1, 0] = 255
    size = (90, 120)
    augment = Augment(scale=(0.5, 2), aspect=1.3, vflip=0.5, min_visible=0, **GEOMETRY_ONLY)
    torch.manual_seed(seed)
    canvas, placement = augment(image, Resize((size,), rule), size)
    moved = placement.to_canvas(np.array([[x0, y0, x1, y1]]))[0]
    assert canvas.flags.c_contiguous
    inside = (canvas[..., 0] > 127) & (canvas[..., 1] < 60)  # not the grey border
    clipped = moved.clip(0, [120, 90, 120, 90])
    if clipped[2] - clipped[0] < 2 or clipped[3] - clipped[1] < 2:
        assert inside.sum() <= 2 * max(size)
        return
    rows, columns = np.nonzero(inside)
    extent = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(extent, clipped, atol=1.0)


def test_scale_is_that_of_the_picture():
    for seed in range(20):
        torch.manual_seed(seed)
        _, placement = Augment(scale=(0.5, 2), aspect=1.2, hflip=0, **GEOMETRY_ONLY)(PHOTO, WHOLE, (30, 40))
        assert 0.5 <= np.sqrt(placement.scale_x * placement.scale_y) <= 2
        assert 1 / 1.2 - 1e-9 <= placement.scale_x / placement.scale_y <= 1.2 + 1e-9
        for scale, offset, length in (
            (placement.scale_x, placement.offset_x, 40),
            (placement.scale_y, placement.offset_y, 30),
        ):
            low, high = sorted((offset, offset + scale * length - length))
            assert low <= 1e-9 <= high + 2e-9 or abs(low) < 1e-9  # inside the image, or around it


def test_large_scale_jitter_is_log_uniform_in_its_range():
    """Ghiasi et al.'s range, 0.1 to 2: a fifth of log(20) is as likely as any other fifth."""
    augment = Augment(scale=(0.1, 2), aspect=1, hflip=0, **GEOMETRY_ONLY)
    torch.manual_seed(0)
    scales = [augment(PHOTO, WHOLE, (30, 40))[1].scale_x for _ in range(1000)]
    fifths = np.floor(5 * np.log(np.array(scales) / 0.1) / np.log(20)).astype(int)
    np.testing.assert_allclose(np.bincount(fifths, minlength=5) / 1000, 0.2, atol=0.04)


def test_flips_happen_as_often_as_asked():
    signs = []
    torch.manual_seed(0)
    for _ in range(400):
        _, placement = Augment(hflip=0.25, vflip=0.75, **GEOMETRY_ONLY)(PHOTO, WHOLE, (30, 40))
        signs.append((placement.scale_x < 0, placement.scale_y < 0))
    np.testing.assert_allclose(np.mean(signs, 0), [0.25, 0.75], atol=0.08)


def test_nothing_asked_changes_nothing():
    canvas, placement = Augment(**COLOUR_ONLY)(PHOTO, WHOLE, (30, 40))
    np.testing.assert_array_equal(canvas, PHOTO)
    np.testing.assert_allclose(placement, (1, 1, 0, 0, 40, 30))


def test_kept_is_centre_and_share_and_of_the_ignored_what_is_seen():
    rng = np.random.default_rng(1)
    corner = rng.uniform(-60, 110, (300, 2))
    boxes = np.hstack([corner, corner + rng.uniform(5, 60, (300, 2))])
    ignore = rng.random(300) < 0.3
    clipped, kept = View(Placement(1, 1, 0, 0, 120, 90), (0, 0, 120, 90), 0.6).boxes(boxes, ignore)
    np.testing.assert_allclose(clipped, boxes.clip(0, [120, 90, 120, 90]), rtol=1e-6)
    for (x0, y0, x1, y1), ignored, stays in zip(boxes, ignore, kept):
        visible = max(0, min(x1, 120) - max(x0, 0)) * max(0, min(y1, 90) - max(y0, 0))
        centre = 0 < (x0 + x1) / 2 < 120 and 0 < (y0 + y1) / 2 < 90
        assert stays == (visible > 0 if ignored else centre and visible >= 0.6 * (x1 - x0) * (y1 - y0))
    assert 0.1 < kept.mean() < 0.9


def test_one_seed_is_one_picture():
    pictures = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        pictures.append(Augment()(PHOTO, WHOLE, (30, 40))[0])
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert (pictures[0] != pictures[2]).any()


def factor_of(seed, position, span):
    torch.manual_seed(seed)
    return 1 + (2 * torch.rand(10)[position].item() - 1) * span


@pytest.mark.parametrize(
    ("name", "position", "reference"),
    [
        ("brightness", 6, tv.adjust_brightness),
        ("contrast", 7, tv.adjust_contrast),
        ("saturation", 8, tv.adjust_saturation),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_colours_move_as_in_torchvision(name, position, reference, seed):
    factor = factor_of(seed, position, 0.5)
    torch.manual_seed(seed)
    canvas, _ = Augment(**{**COLOUR_ONLY, name: 0.5})(PHOTO, WHOLE, (30, 40))
    expected = reference(torch.from_numpy(PHOTO).permute(2, 0, 1), factor).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(canvas.astype(int), expected.astype(int), atol=2)


def test_hue_and_saturation_leave_grey_alone():
    grey = np.repeat(RNG.integers(0, 256, (30, 40, 1), np.uint8), 3, 2)
    canvas, _ = Augment(**{**COLOUR_ONLY, "hue": 0.5, "saturation": 1})(grey, WHOLE, (30, 40))
    np.testing.assert_allclose(canvas.astype(int), grey.astype(int), atol=1)


def test_a_third_of_a_turn_changes_red_to_green():
    image = np.full((30, 40, 3), (255, 0, 0), np.uint8)
    augment = Augment(**{**COLOUR_ONLY, "hue": 0.5})
    for seed in range(30):
        turn = factor_of(seed, 9, 0.5) - 1
        torch.manual_seed(seed)
        if abs(turn - 1 / 3) < 0.03:
            canvas, _ = augment(image, WHOLE, (30, 40))
            assert canvas[0, 0].argmax() == 1
            assert canvas[0, 0, 1] > 200
            return
    pytest.fail("no seed near a third of a turn")


@pytest.mark.parametrize(
    "options",
    [
        {"scale": (0, 1)},
        {"scale": (1.5, 0.5)},
        {"scale": (1, 50)},
        {"scale": (1,)},
        {"aspect": 0.9},
        {"hflip": 1.1},
        {"vflip": -0.1},
        {"brightness": 2},
        {"contrast": -1},
        {"saturation": float("nan")},
        {"hue": 0.6},
        {"min_visible": 1.1},
    ],
)
def test_values_out_of_range_are_named(options):
    with pytest.raises(ValueError, match=f"Expected `{next(iter(options))}`"):
        Augment(**options)
