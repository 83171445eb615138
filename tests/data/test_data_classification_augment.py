import numpy as np
import pytest
import torch

from bnn_tasks.data import CropFlip, RandomResizedCrop
from bnn_tasks.runtime.images import Resize

RNG = np.random.default_rng(0)
BATCH = RNG.integers(0, 256, (40, 9, 11, 3), np.uint8)
PHOTO = RNG.integers(0, 256, (60, 80, 3), np.uint8)


def padded_pixel(canvas, y, x, border):
    """One pixel of the endless plane that a canvas is padded to, written without numpy's pad."""
    height, width = canvas.shape[:2]
    if border == "zero":
        return canvas[y, x] if 0 <= y < height and 0 <= x < width else np.zeros(3, np.uint8)
    y, x = abs(y), abs(x)
    return canvas[min(y, 2 * (height - 1) - y), min(x, 2 * (width - 1) - x)]


@pytest.mark.parametrize("border", ["zero", "reflect"])
@pytest.mark.parametrize("padding", [0, 1, 4])
def test_crop_flip_is_a_naive_loop(padding, border):
    torch.manual_seed(1)
    result = CropFlip(padding, 0.5, border)(BATCH)
    torch.manual_seed(1)
    corners = torch.randint(2 * padding + 1, (len(BATCH), 2)).tolist()
    flips = (torch.rand(len(BATCH)) < 0.5).tolist()
    assert 0 < sum(flips) < len(flips)
    for canvas, shown, (top, left), flip in zip(BATCH, result, corners, flips):
        expected = np.empty_like(canvas)
        for y in range(9):
            for x in range(11):
                expected[y, x] = padded_pixel(canvas, y + top - padding, x + left - padding, border)
        np.testing.assert_array_equal(shown, expected[:, ::-1] if flip else expected)


def test_crop_flip_leaves_its_input_alone_and_can_do_nothing():
    before = BATCH.copy()
    CropFlip()(BATCH)
    np.testing.assert_array_equal(BATCH, before)
    np.testing.assert_array_equal(CropFlip(0, 0.0)(BATCH), BATCH)
    np.testing.assert_array_equal(CropFlip(0, 1.0)(BATCH), BATCH[:, :, ::-1])


def test_every_move_is_as_likely():
    torch.manual_seed(0)
    lone = np.zeros((20_000, 5, 5, 3), np.uint8)
    lone[:, 2, 2] = 255
    mean = CropFlip(2, 0.5)(lone)[..., 0].mean(0) / 255
    np.testing.assert_allclose(mean, np.full((5, 5), 1 / 25), atol=0.006)


@pytest.mark.parametrize("augment", [CropFlip(), RandomResizedCrop()], ids=lambda a: type(a).__name__)
def test_one_seed_is_one_augmentation(augment):
    results = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        arguments = (BATCH,) if isinstance(augment, CropFlip) else (PHOTO, Resize(((20, 20),)), (20, 20))
        results.append(augment(*arguments))
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0] != results[2]).any()


def gradient(height, width):
    """Red says x, green says y, both as a share of the picture."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = (np.arange(width) + 0.5) / width * 255
    image[..., 1] = ((np.arange(height) + 0.5) / height * 255)[:, None]
    return image


def shown_part(canvas):
    """Width and height of the part that a canvas of a gradient shows, as shares of the picture, and whether it is flipped."""
    values = canvas.astype(float) / 255
    wide = (values[:, -1, 0] - values[:, 0, 0]).mean() * canvas.shape[1] / (canvas.shape[1] - 1)
    high = (values[-1, :, 1] - values[0, :, 1]).mean() * canvas.shape[0] / (canvas.shape[0] - 1)
    return abs(wide), high, wide < 0


def test_a_random_crop_has_the_area_and_aspect_asked_for():
    image, resize = gradient(300, 400), Resize(((64, 64),))
    augment = RandomResizedCrop(area=(0.2, 0.5), aspect=(0.8, 1.25), flip=0.25)
    torch.manual_seed(0)
    parts = np.array([shown_part(augment(image, resize, (64, 64))) for _ in range(300)])
    areas = parts[:, 0] * parts[:, 1]
    aspects = parts[:, 0] * 400 / (parts[:, 1] * 300)
    assert areas.min() > 0.19
    assert areas.max() < 0.52
    assert areas.mean() == pytest.approx(0.35, abs=0.02)
    assert aspects.min() > 0.77
    assert aspects.max() < 1.3
    assert np.median(aspects) == pytest.approx(1, abs=0.05)
    assert parts[:, 2].mean() == pytest.approx(0.25, abs=0.08)


def test_a_random_crop_stays_inside_the_picture():
    """A white picture shows no grey border, however narrow it is."""
    for height, width in ((100, 3), (3, 100), (1, 1), (50, 60)):
        white = np.full((height, width, 3), 255, np.uint8)
        for seed in range(20):
            torch.manual_seed(seed)
            canvas = RandomResizedCrop(aspect=(0.1, 10))(white, Resize(((16, 24),)), (16, 24))
            assert canvas.shape == (16, 24, 3)
            assert canvas.min() == 255


def test_the_whole_picture_is_a_stretch():
    canvas = RandomResizedCrop(area=(1, 1), aspect=(4 / 3, 4 / 3), flip=0)(PHOTO, Resize(((30, 40),)), (30, 40))
    np.testing.assert_array_equal(canvas, Resize(((30, 40),), "stretch").fit(PHOTO)[0])


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (CropFlip, {"padding": -1}),
        (CropFlip, {"flip": 1.1}),
        (CropFlip, {"flip": float("nan")}),
        (CropFlip, {"border": "wrap"}),
        (RandomResizedCrop, {"area": (0, 1)}),
        (RandomResizedCrop, {"area": (0.5, 0.4)}),
        (RandomResizedCrop, {"area": (0.5, 1.1)}),
        (RandomResizedCrop, {"area": (0.5,)}),
        (RandomResizedCrop, {"aspect": (0, 1)}),
        (RandomResizedCrop, {"aspect": (1, float("inf"))}),
        (RandomResizedCrop, {"flip": -0.1}),
    ],
)
def test_augmentation_values_out_of_range_are_named(kind, options):
    with pytest.raises(ValueError, match=f"Expected `{next(iter(options))}`"):
        kind(**options)


def test_a_canvas_smaller_than_its_mirror_is_named():
    with pytest.raises(ValueError, match="Expected `padding`"):
        CropFlip(9, border="reflect")(BATCH)
