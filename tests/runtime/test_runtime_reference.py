"""The reference path against loops: every geometry, pad value and grouping, the bands it works in, and what memory it takes."""

import itertools
import tracemalloc
from dataclasses import astuple

import naive
import numpy as np
import pytest
from graphs import floats, pack_weight, signs

from bnn_tasks.runtime import reference
from bnn_tasks.runtime.kinds import BitMap, PatchBits
from bnn_tasks.runtime.layouts import signs_to_bits
from bnn_tasks.runtime.ops.windows import output_side
from bnn_tasks.runtime.reference import Windows
from bnn_tasks.runtime.reference import windows as windows_module
from bnn_tasks.runtime.suppression import suppress

HEIGHT, WIDTH = 5, 7
# kernel, stride, padding, dilation
GEOMETRIES = [
    ((3, 3), (1, 1), (1, 1), (1, 1)),
    ((3, 3), (2, 2), (1, 1), (1, 1)),
    ((1, 1), (1, 1), (0, 0), (1, 1)),
    ((5, 3), (1, 3), (4, 2), (2, 1)),
    ((2, 2), (2, 2), (3, 3), (1, 1)),
    ((1, 2), (9, 9), (13, 20), (1, 1)),  # most windows see padding only
]
# channels of a group, groups, outputs of a group
SHAPES = [(1, 1, 3), (64, 1, 2), (65, 2, 1), (1, 5, 1), (3, 2, 3)]
PADS = [0, 1, -1]
CASES = list(itertools.product(GEOMETRIES, SHAPES, PADS))


@pytest.fixture
def in_bands(monkeypatch):
    """Calls a function on a pixel at a time, some pixels at a time, and everything at once."""

    def each(run, *args):
        for size in (1, 1500, 1 << 22):
            monkeypatch.setattr(windows_module, "BAND_BYTES", size)
            yield run(*args)

    return each


def peak(run):
    """Most bytes that a call holds at once."""
    tracemalloc.start()
    try:
        made = run()
        del made
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def over(kernel, stride, padding, dilation, extra=(0, 0)):
    sides = (HEIGHT, WIDTH)
    size = [output_side(sides[i], kernel[i], stride[i], padding[i], dilation[i]) + extra[i] for i in (0, 1)]
    return Windows(tuple(size), kernel, stride, padding, dilation)


def geometry(windows):
    size, _, *rest = astuple(windows)
    return size, *rest


def bits_of(x, groups):
    return signs_to_bits(x, BitMap(len(x), groups, *x.shape[1:]))


@pytest.mark.parametrize("channels", [1, 3, 63, 64, 65, 130])
@pytest.mark.parametrize("groups", [1, 3])
def test_pack(channels, groups):
    rng = np.random.default_rng(channels)
    x, threshold = floats(rng, 4, 5, channels * groups), floats(rng, channels * groups)
    x[0, 0, 0], x[1, 2] = np.nan, threshold
    bits, nans = reference.pack(x, threshold, groups)
    assert nans == 1
    expected = signs_to_bits(np.where(x >= threshold, 1, -1).transpose(2, 0, 1), BitMap(x.shape[2], groups, 4, 5))
    np.testing.assert_array_equal(bits, expected)
    assert bits.dtype == np.uint64


@pytest.mark.parametrize(
    ("inputs", "groups", "outputs", "kernel"), [(3, 1, 4, (3, 2)), (70, 3, 2, (1, 1)), (64, 2, 1, (2, 2))]
)
def test_tile_bits_bit_by_bit(in_bands, inputs, groups, outputs, kernel):
    w = signs(np.random.default_rng(0), groups * outputs, inputs, *kernel)
    expected = np.zeros((groups, *kernel, -(-inputs // 64), outputs), np.uint64)
    for o, i, y, x in np.ndindex(w.shape):
        if w[o, i, y, x] > 0:
            expected[o // outputs, y, x, i // 64, o % outputs] |= np.uint64(1) << np.uint64(i % 64)
    for tiled in in_bands(reference.tile_bits, pack_weight(w), inputs, groups, kernel):
        assert tiled.flags.c_contiguous
        np.testing.assert_array_equal(tiled, expected)


@pytest.mark.parametrize(("given", "shape", "pad_value"), CASES)
def test_binary_convolution_and_its_epilogues(in_bands, given, shape, pad_value):
    channels, groups, outputs = shape
    rng = np.random.default_rng(channels)
    x, w = signs(rng, groups * channels, HEIGHT, WIDTH), signs(rng, groups * outputs, channels, *given[0])
    windows, tiled = over(*given), reference.tile_bits(pack_weight(w), channels, groups, given[0])
    layer = (bits_of(x, groups), tiled, channels, windows, pad_value)
    acc = naive.accumulate(x, w, *given[1:], groups, pad_value).transpose(1, 2, 0)
    for made in in_bands(reference.xnor_accumulate, *layer):
        assert made.dtype == np.int32
        np.testing.assert_array_equal(made, acc)
    scale, bias, second = floats(rng, len(w)), floats(rng, len(w)), floats(rng, *acc.shape)
    scaled = acc.astype(np.float32) * scale
    for made in in_bands(reference.xnor_float, *layer, scale, bias, None):
        np.testing.assert_array_equal(made, scaled + bias)
    for made in in_bands(reference.xnor_float, *layer, scale, bias, second):
        np.testing.assert_array_equal(made, (second + scaled) + bias)
    threshold, flip = rng.integers(-5, 5, len(w), dtype=np.int32), rng.integers(0, 2, len(w), dtype=np.uint8)
    for out_groups in (1, groups, len(w)):
        expected = bits_of(np.where((acc >= threshold) ^ (flip == 1), 1, -1).transpose(2, 0, 1), out_groups)
        for bits in in_bands(reference.xnor_bits, *layer, threshold, flip, out_groups):
            np.testing.assert_array_equal(bits, expected)


@pytest.mark.parametrize(("given", "shape", "pad_value"), CASES)
def test_float_convolution(in_bands, given, shape, pad_value):
    channels, groups, outputs = shape
    rng = np.random.default_rng(channels)
    x, w, bias = (
        floats(rng, HEIGHT, WIDTH, groups * channels),
        floats(rng, groups * outputs, channels, *given[0]),
        floats(rng, groups * outputs),
    )
    tiled = np.ascontiguousarray(w.reshape(groups, outputs, *w.shape[1:]).transpose(0, 3, 4, 2, 1))
    expected = naive.convolve(x, w, geometry(over(*given)), groups, pad_value) + bias
    reach = naive.convolve(abs(x), abs(w), geometry(over(*given)), groups, abs(pad_value)) + abs(bias)
    for y in in_bands(reference.float_conv2d, x, tiled, bias, over(*given), pad_value):
        assert y.dtype == np.float32
        assert (abs(y - expected) <= 1e-6 * reach).all()


@pytest.mark.parametrize("extra", [(0, 0), (1, 0), (1, 1)])
@pytest.mark.parametrize("given", GEOMETRIES[:5])
def test_pools(given, extra):
    """With `extra` windows that reach beyond the padding, as ceil mode has."""
    kernel, stride, padding, _ = given
    padding = tuple(min(p, k // 2) for p, k in zip(padding, kernel, strict=True))
    x = floats(np.random.default_rng(0), HEIGHT, WIDTH, 3)
    windows = over(kernel, stride, padding, (1, 1))
    fits = [(windows.size[i]) * stride[i] < (HEIGHT, WIDTH)[i] + padding[i] for i in (0, 1)]
    windows = over(kernel, stride, padding, (1, 1), tuple(e and f for e, f in zip(extra, fits, strict=True)))
    with np.errstate(invalid="ignore"):
        most, total, inner, outer = naive.pools(x, kernel, geometry(windows))
        np.testing.assert_array_equal(reference.max_pool2d(x, windows), most)
        np.testing.assert_array_equal(reference.avg_pool2d(x, windows, False), total / inner)
        np.testing.assert_array_equal(reference.avg_pool2d(x, windows, True), total / outer)


def test_max_pool_keeps_nan_and_infinity_and_may_see_nothing():
    x = floats(np.random.default_rng(0), HEIGHT, WIDTH, 2)
    x[1, 1, 0], x[3, :, 1], x[2, 2, 1] = np.nan, -np.inf, np.inf
    windows = over((2, 3), (1, 2), (1, 1), (3, 2))
    np.testing.assert_array_equal(
        reference.max_pool2d(x, windows), naive.pools(x, windows.kernel, geometry(windows))[0]
    )
    aside = Windows((1, 1), (1, 1), padding=(1, 1))
    assert reference.max_pool2d(x, aside).tolist() == [[[-np.inf, -np.inf]]]


@pytest.mark.parametrize("index", [0, 2])
@pytest.mark.parametrize(("given", "shape", "pad_value"), CASES)
def test_residuals_window_means_and_products_of_patches(in_bands, given, shape, pad_value, index):
    channels, groups, outputs = shape
    rng = np.random.default_rng(channels)
    x, windows = floats(rng, HEIGHT, WIDTH, groups * channels), over(*given)
    rest, means, counts = naive.residuals(x, groups, given[0], geometry(windows), pad_value, index)
    if index == 0:
        for found in in_bands(reference.window_mean, x, groups, windows, pad_value):
            np.testing.assert_array_equal(found, means)
    expected = (np.where(rest >= 0, 1, -1) * counts[:, :, None]).reshape(*windows.size, -1).transpose(2, 0, 1)
    packed = signs_to_bits(expected, PatchBits(len(expected), groups, *windows.size))
    for bits, beta, nans in in_bands(reference.residual_signs, x, groups, windows, pad_value, index):
        assert nans == 0
        np.testing.assert_array_equal(bits, packed)
        np.testing.assert_array_equal(beta, means)
    w = signs(rng, groups * outputs, rest.shape[-1])
    sums = naive.accumulate_patches(expected, w, groups).transpose(1, 2, 0)
    tiled = reference.tile_bits(pack_weight(w), w.shape[1], groups, (1, 1))
    for acc in in_bands(reference.patch_accumulate, packed, tiled):
        assert acc.dtype == np.int32
        np.testing.assert_array_equal(acc, sums)


def test_residuals_count_what_is_no_number():
    x = np.ones((3, 3, 2), np.float32)
    x[1, 1, 0] = np.nan
    assert reference.residual_signs(x, 1, Windows((3, 3), (1, 1)), 0, 0)[2] == 1
    assert (
        reference.residual_signs(x, 1, Windows((3, 3), (1, 1)), 0, 1)[2] == 2
    )  # its mean is none, so the patch is none


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize(("count", "labels", "threshold", "limit"), [
    (0, 1, 0.5, 5), (1, 1, 0.5, 1), (150, 1, 0.0, 150), (150, 3, 1 / 3, 150), (150, 2, 0.6, 9), (150, 1, 1.0, 150),
    (20, 1, 0.5, 0),
])  # fmt: skip
def test_suppression(count, labels, threshold, limit, rounded):
    """Rounded boxes meet the threshold exactly: 1/3 in float32 is above 1/3 in float64."""
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 30, (count, 2))], axis=1).astype(np.float32)
    if rounded:
        boxes = np.round(boxes / 10) * 10
    names = rng.integers(0, labels, count)
    with np.errstate(invalid="ignore"):
        found = suppress(boxes, names, threshold, limit)
    assert found.dtype == np.int64
    assert found.tolist() == naive.suppress(boxes, names, threshold, limit)


def test_large_maps_take_little_more_than_what_they_make():
    side, channels = 256, 64
    x = np.zeros((side, side, channels), np.float32)
    windows = Windows((side, side), (3, 3), padding=(1, 1))
    bits = np.zeros((side, side, 1), np.uint64)
    w, matrix = np.zeros((1, 3, 3, 1, channels), np.uint64), np.zeros((1, 3, 3, channels, channels), np.float32)
    row = np.zeros(channels, np.float32)
    for run in (
        lambda: reference.pack(x, row, 1),
        lambda: reference.xnor_float(bits, w, channels, windows, 0, row, row, x),
        lambda: reference.xnor_bits(bits, w, channels, windows, 0, row.astype(np.int32), row.astype(np.uint8), 1),
        lambda: reference.float_conv2d(x, matrix, row, windows),
        lambda: reference.max_pool2d(x, windows),
        lambda: reference.avg_pool2d(x, windows, True),
        lambda: reference.window_mean(x, 1, windows, 0),
        lambda: reference.window_mean(x, channels, windows, 0),
        lambda: reference.residual_signs(x[:64], 1, Windows((64, side), (3, 3), padding=(1, 1)), 0, 0),
    ):
        assert peak(run) <= x.nbytes + 3 * windows_module.BAND_BYTES


def test_wide_padding_takes_no_memory():
    x = np.zeros((1, 1, 64), np.float32)
    windows = Windows((3, 3), (1, 1), (1024, 1024), (1024, 1024))
    w, bias = np.zeros((1, 1, 1, 64, 8), np.float32), np.zeros(8, np.float32)
    bits = np.zeros((1, 1, 1), np.uint64)
    assert peak(lambda: reference.float_conv2d(x, w, bias, windows)) < 1 << 20
    assert peak(lambda: reference.window_mean(x, 64, windows, 1)) < 1 << 20
    assert peak(lambda: reference.xnor_accumulate(bits, bits[..., None, None], 64, windows, 1)) < 1 << 20
