import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from bnn_tasks.runtime.images import Placement, Resize
from bnn_tasks.runtime.resize import FILL

RNG = np.random.default_rng(0)
PHOTO = np.asarray(
    tv.resize(torch.from_numpy(RNG.integers(0, 256, (3, 12, 16), np.uint8)), [48, 64]).permute(1, 2, 0)
).copy()


def test_equal_aspect_is_one_resampling_as_in_torchvision():
    canvas, placement = Resize(((24, 32),)).fit(PHOTO)
    expected = tv.resize(torch.from_numpy(PHOTO).permute(2, 0, 1), [24, 32], antialias=True).permute(1, 2, 0)
    np.testing.assert_allclose(canvas.astype(int), expected.numpy().astype(int), atol=1)
    assert placement == Placement(0.5, 0.5, 0.0, 0.0, 64, 48)


def test_stretch_fills_the_canvas():
    canvas, placement = Resize(((30, 20),), "stretch").fit(PHOTO)
    expected = tv.resize(torch.from_numpy(PHOTO).permute(2, 0, 1), [30, 20], antialias=True).permute(1, 2, 0)
    np.testing.assert_allclose(canvas.astype(int), expected.numpy().astype(int), atol=1)
    assert placement[:4] == (20 / 64, 30 / 48, 0.0, 0.0)


@pytest.mark.parametrize(
    ("shape", "size", "rows", "columns"),
    [
        ((10, 20), (20, 20), slice(5, 15), slice(0, 20)),
        ((20, 10), (20, 20), slice(0, 20), slice(5, 15)),
        ((10, 20), (21, 20), slice(5, 15), slice(0, 20)),  # the odd row goes below
        ((1, 20_000), (24, 32), slice(11, 12), slice(0, 32)),
        ((1, 1), (24, 32), slice(0, 24), slice(4, 28)),
        ((333, 500), (320, 320), slice(53, 266), slice(0, 320)),
    ],
)
def test_letterbox_is_centred_on_grey(shape, size, rows, columns):
    canvas, placement = Resize((size,)).fit(np.full((*shape, 3), 200, np.uint8))
    expected = np.full((*size, 3), FILL, np.uint8)
    expected[rows, columns] = 200
    np.testing.assert_array_equal(canvas, expected)
    box = placement.to_canvas(np.array([[0, 0, shape[1], shape[0]]]))
    np.testing.assert_allclose(box, [[columns.start, rows.start, columns.stop, rows.stop]], atol=1e-4)


def test_whole_pixel_window_is_a_crop():
    resize = Resize(((20, 30),))
    canvas, _ = resize.fit(PHOTO, (5, 7, 35, 27))
    np.testing.assert_array_equal(canvas, PHOTO[7:27, 5:35])
    canvas, placement = resize.fit(PHOTO, (-10, 40, 20, 60))
    expected = np.full((20, 30, 3), FILL, np.uint8)
    expected[:8, 10:] = PHOTO[40:, :20]
    np.testing.assert_array_equal(canvas, expected)
    assert placement == Placement(1.0, 1.0, 10.0, -40.0, 64, 48)


@pytest.mark.parametrize(
    "window", [(3.3, 4.7, 200.1, 90.2), (-30.5, -10.0, 280.0, 130.5), (100.25, 50.5, 120.5, 60.75)]
)
def test_resampling_agrees_with_the_placement(window):
    """A ramp stays a ramp under any linear filter, so a pixel's value says where in the image it lies."""
    ramp = np.empty((120, 250, 3), np.uint8)
    ramp[..., 0] = np.arange(250)
    ramp[..., 1] = np.arange(120)[:, None]
    ramp[..., 2] = 255
    canvas, placement = Resize(((60, 80),)).fit(ramp, window)
    inside = canvas[..., 2] == 255
    inside[1:-1, 1:-1] &= inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    inside[[0, -1]] = inside[:, [0, -1]] = False  # at an edge the filter is one-sided
    y, x = np.nonzero(inside)
    assert len(y) > 500
    centres = np.column_stack([x + 0.5, y + 0.5, x + 0.5, y + 0.5])
    expected = placement.to_image(centres)[:, :2] - 0.5
    span = max(1 / placement.scale_x, 1 / placement.scale_y)
    away = (np.abs(expected - np.array([0, 0])) > span).all(1) & (np.array([249, 119]) - expected > span).all(1)
    assert np.abs(canvas[y, x, :2] - expected)[away].max() < 1.01


def test_a_window_beside_the_image_is_grey():
    canvas, _ = Resize(((8, 8),)).fit(PHOTO, (100, 100, 140, 140))
    assert (canvas == FILL).all()


def test_a_sliver_is_drawn_one_pixel_thick():
    canvas, _ = Resize(((24, 32),)).fit(np.full((1, 20_000, 3), 200, np.uint8), (-10_000, -11_250, 30_000, 18_750))
    assert ((canvas == 200).all(-1).sum(0) == [0] * 8 + [1] * 16 + [0] * 8).all()


@pytest.mark.parametrize("flips", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_placement_round_trip(flips):
    placement = Placement(0.5 * flips[0], 0.25 * flips[1], 10, 20, 100, 80)
    boxes = np.array([[0, 0, 100, 80], [10, 20, 30, 40]], np.float32)
    canvas = placement.to_canvas(boxes)
    assert (canvas[:, 2:] > canvas[:, :2]).all()
    assert canvas.dtype == np.float32
    for (x0, y0, x1, y1), moved in zip(boxes, canvas):
        xs, ys = (
            sorted(c * s + o for c in cs) for cs, s, o in (((x0, x1), placement[0], 10), ((y0, y1), placement[1], 20))
        )
        np.testing.assert_allclose(moved, [xs[0], ys[0], xs[1], ys[1]])
    np.testing.assert_allclose(placement.to_image(canvas), boxes, atol=1e-4)


def test_to_image_clips_to_the_image():
    boxes = Placement(2, 2, 5, 5, 10, 8).to_image(np.array([[0, 0, 100, 100]]))
    np.testing.assert_array_equal(boxes, [[0, 0, 10, 8]])


def test_no_boxes_are_legal_and_other_shapes_are_not():
    placement = Placement(1, 1, 0, 0, 1, 1)
    assert placement.to_canvas(np.zeros((0, 4))).shape == placement.to_image(np.zeros((0, 4))).shape == (0, 4)
    with pytest.raises(ValueError, match=r"\(N, 4\)"):
        placement.to_canvas(np.zeros(4))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((100, 100), (240, 320)), ((90, 100), (240, 320)), ((101, 100), (320, 240)), ((100, 600), (160, 480))],
)
def test_bucket_is_the_nearest_aspect_ratio(shape, expected):
    sizes = ((240, 320), (320, 240), (160, 480))
    assert Resize(sizes).bucket(*shape) == expected
    canvas, _ = Resize(sizes).fit(np.zeros((*shape, 3), np.uint8))
    assert canvas.shape[:2] == expected


def test_size_overrides_the_bucket():
    assert Resize(((24, 32),)).fit(PHOTO, size=(10, 12))[0].shape == (10, 12, 3)


def test_dict_round_trip():
    resize = Resize(((24, 32), (32, 24)), "stretch")
    assert resize.to_dict() == {"sizes": [[24, 32], [32, 24]], "rule": "stretch"}
    assert Resize.from_dict(resize.to_dict()) == resize


@pytest.mark.parametrize(
    "values",
    [
        {"sizes": [[24, 32]]},
        {"sizes": [[24, 32]], "rule": "letterbox", "more": 1},
        {"sizes": [], "rule": "letterbox"},
        {"sizes": 5, "rule": "letterbox"},
        {"sizes": [24, 32], "rule": "letterbox"},
        {"sizes": [[24, 32, 3]], "rule": "letterbox"},
        {"sizes": [[0, 32]], "rule": "letterbox"},
        {"sizes": [[24, 8193]], "rule": "letterbox"},
        {"sizes": [[24.0, 32]], "rule": "letterbox"},
        {"sizes": [[True, 32]], "rule": "letterbox"},
        {"sizes": [[24, 32]], "rule": "shrink"},
        {"sizes": [[24, 32]], "rule": ["letterbox"]},
        [["sizes", 1]],
        None,
    ],
)
def test_bad_dicts_are_refused(values):
    with pytest.raises(ValueError, match="Expected"):
        Resize.from_dict(values)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        [[[0, 0, 0]]],
    ],
)
def test_bad_images_are_refused(image):
    with pytest.raises(ValueError, match="Expected `image`"):
        Resize(((4, 4),)).fit(image)


@pytest.mark.parametrize("window", [(0, 0, 0, 5), (5, 0, 0, 5), (0, 0, np.nan, 5), (-np.inf, 0, np.inf, 5)])
def test_bad_windows_are_refused(window):
    with pytest.raises(ValueError, match="Expected `window`"):
        Resize(((4, 4),)).fit(PHOTO, window)
