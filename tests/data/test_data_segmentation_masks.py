"""Mask files are read bit by bit, and what is no mask is refused with the cure."""

import struct
import zlib

import numpy as np
import pytest
from mask_sets import write_mask
from PIL import Image

from bnn_tasks.data import DataError
from bnn_tasks.data.segmentation.coding import ColourCoding, IndexCoding, pack
from bnn_tasks.data.segmentation.masks import mask_size, read_colours, read_indices
from bnn_tasks.runtime.images import ImageError

RNG = np.random.default_rng(0)


def grey_png(values, bits):
    """A grey PNG of 1, 2 or 4 bits a pixel, which Pillow cannot write; by the PNG specification."""
    rows = b""
    for row in values:
        packed = int("".join(f"{value:0{bits}b}" for value in row).ljust(-(-len(row) * bits // 8) * 8, "0"), 2)
        rows += b"\0" + packed.to_bytes(-(-len(row) * bits // 8), "big")
    header = struct.pack(">IIBBBBB", len(values[0]), len(values), bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    body = b"".join(struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_values_of_few_bits_are_not_stretched(tmp_path, bits):
    values = RNG.integers(0, 2**bits, (5, 7))
    (tmp_path / "m.png").write_bytes(grey_png(values, bits))
    np.testing.assert_array_equal(read_indices(tmp_path / "m.png"), values)


@pytest.mark.parametrize(
    ("suffix", "mode", "top"),
    [
        ("png", "L", 256),
        ("png", "P", 256),
        ("png", "1", 2),
        ("png", "I;16", 65536),
        ("tif", "L", 256),
        ("tif", "I;16", 65536),
        ("tif", "I", 2**20),
        ("bmp", "L", 256),
        ("png", "LA", 256),
    ],
)
def test_numbers_are_read_exactly(tmp_path, suffix, mode, top):
    values = RNG.integers(0, top, (5, 7))
    path = tmp_path / f"m.{suffix}"
    if mode == "P":
        image = Image.fromarray(values.astype(np.uint8), "L")
        image.putpalette(bytes(768))  # all black: its colours say nothing, and a conversion would lose all
    elif mode == "1":
        image = Image.fromarray(values.astype(bool))
    elif mode == "LA":
        image = Image.fromarray(np.stack([values, RNG.integers(0, 256, values.shape)], -1).astype(np.uint8), "LA")
    else:
        image = Image.fromarray(values.astype({"L": np.uint8, "I;16": np.uint16, "I": np.int32}[mode]))
    image.save(path)
    np.testing.assert_array_equal(read_indices(path), values)


def test_a_small_palette_of_packed_bits_is_read_by_its_indices(tmp_path):
    values = RNG.integers(0, 4, (5, 7)).astype(np.uint8)
    image = Image.fromarray(values, "P")
    image.putpalette([9, 9, 9, 9, 9, 9, 8, 8, 8, 7, 7, 7])
    image.save(tmp_path / "m.png", bits=2)
    np.testing.assert_array_equal(read_indices(tmp_path / "m.png"), values)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_are_read_exactly(tmp_path, mode):
    table = np.array([[0, 0, 0], [128, 64, 128], [7, 8, 9]], np.uint8)
    values = RNG.integers(0, 3, (5, 7))
    image = Image.fromarray(table[values])
    if mode == "RGBA":
        image.putalpha(Image.fromarray(RNG.integers(0, 256, (5, 7)).astype(np.uint8)))
    if mode == "P":  # renumbered, as programs that shrink files do
        image = Image.fromarray((2 - values).astype(np.uint8), "P")
        image.putpalette(table[::-1].tobytes())
    image.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_colours(tmp_path / "m.png"), table[values])
    coding = ColourCoding({(0, 0, 0): 255, (128, 64, 128): 0, (7, 8, 9): 1})
    np.testing.assert_array_equal(coding.read(tmp_path / "m.png"), np.array([255, 0, 1])[values])


def test_an_rgb_mask_is_refused_with_the_cure(tmp_path):
    path = write_mask(tmp_path / "m.png", [[[1, 2, 3], [1, 2, 3], [0, 0, 9]]])
    with pytest.raises(
        DataError, match=r"m\.png: .*index mask.* 2 colours, \[1, 2, 3\], \[0, 0, 9\].*colours: {name: \[r, g, b"
    ):
        read_indices(path)
    grey = write_mask(tmp_path / "n.png", [[[1, 1, 1], [2, 2, 2]]])
    with pytest.raises(DataError, match="equal channels"):
        read_indices(grey)


def test_an_index_mask_is_refused_where_colours_are_given(tmp_path):
    with pytest.raises(DataError, match=r"m\.png: .*\[1, 1, 1\] \(1 pixel\).*leave `colours` out"):
        ColourCoding({(0, 0, 0): 0, (9, 8, 7): 1}).read(write_mask(tmp_path / "m.png", [[0, 1]]))
    Image.fromarray(np.full((2, 2), 500, np.uint16)).save(tmp_path / "n.png")
    with pytest.raises(DataError, match=r"n\.png: .*leave `colours` out"):
        read_colours(tmp_path / "n.png")


@pytest.mark.parametrize(("mode", "table"), [("L", [0, 70, 255]), ("LA", [0, 70, 255]), ("1", [0, 255])])
def test_grey_colours_that_a_program_saved_as_grey_are_colours(tmp_path, mode, table):
    values = RNG.integers(0, len(table), (5, 7))
    grey = np.array(table, np.uint8)[values]
    if mode == "LA":
        image = Image.fromarray(np.stack([grey, RNG.integers(0, 256, grey.shape).astype(np.uint8)], -1), "LA")
    else:
        image = Image.fromarray(grey == 255 if mode == "1" else grey)
    image.save(tmp_path / "m.png")
    coding = ColourCoding({(v, v, v): label for label, v in enumerate(table)} | {(128, 0, 0): 9})
    np.testing.assert_array_equal(coding.read(tmp_path / "m.png"), values)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_grey_of_few_bits_is_a_colour_up_to_white(tmp_path, bits):
    """By the PNG specification, section 13.12: a sample s of d bits is 255 s / (2^d - 1) of 8 bits."""
    values = RNG.integers(0, 2**bits, (5, 7))
    (tmp_path / "m.png").write_bytes(grey_png(values, bits))
    expected = np.repeat(values[..., None] * 255 // (2**bits - 1), 3, -1)
    np.testing.assert_array_equal(read_colours(tmp_path / "m.png"), expected)


@pytest.mark.parametrize(("suffix", "orientation"), [("png", None), ("png", 6), ("tif", None), ("tif", 3), ("tif", 6)])
def test_a_header_has_the_size_that_is_read(tmp_path, suffix, orientation):
    path = tmp_path / f"m.{suffix}"
    image = Image.fromarray(RNG.integers(0, 9, (5, 7), np.uint8))
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    image.save(path, exif=exif)
    assert mask_size(path) == read_indices(path).shape == (5, 7)
    path.write_bytes(b"nothing")
    with pytest.raises(ImageError, match=rf"m\.{suffix}: not a readable mask"):
        mask_size(path)


def test_a_lossy_mask_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"m\.jpg: JPEG changes a mask's values"):
        read_indices(write_mask(tmp_path / "m.jpg", np.zeros((8, 8))))


@pytest.mark.parametrize("content", [b"", b"nothing", None])
def test_an_unreadable_mask_is_named(tmp_path, content):
    path = tmp_path / "m.png"
    if content is None:
        write_mask(path, RNG.integers(0, 9, (40, 40)))
        path.write_bytes(path.read_bytes()[:-200])
    else:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=r"m\.png"):
        read_indices(path)


def test_a_missing_mask_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"missing\.png: No such file"):
        read_indices(tmp_path / "missing.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_labels_are_looked_up(tmp_path, dtype):
    values = RNG.integers(0, 5, (5, 7)) * 3
    Image.fromarray(values.astype(dtype)).save(tmp_path / "m.png")
    coding = IndexCoding.of([12, 0, 6], void=[3, 9])
    expected = np.vectorize({12: 0, 0: 1, 6: 2, 3: 255, 9: 255}.get)(values)
    found = coding.read(tmp_path / "m.png")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_values_without_a_meaning_are_named_with_their_pixels(tmp_path):
    values = np.zeros((4, 5), np.uint8)
    values[0, :3], values[1, 0], values[2, 0] = 13, 200, 255
    path = write_mask(tmp_path / "m.png", values)
    with pytest.raises(DataError, match=r"m\.png: .*: 13 \(3 pixels\), 200 \(1 pixel\); there are 0\.\.2, 255\."):
        IndexCoding.of(range(3), [255]).read(path)
    path = write_mask(tmp_path / "c.png", [[[1, 2, 3], [4, 5, 6], [4, 5, 6]]])
    with pytest.raises(DataError, match=r"c\.png: .*: \[4, 5, 6\] \(2 pixels\); there are \[1, 2, 3\]\."):
        ColourCoding({(1, 2, 3): 0}).read(path)
    path = write_mask(tmp_path / "many.png", [list(range(100, 130))])
    with pytest.raises(DataError, match="and 20 more; there are 0"):
        IndexCoding.of([0], []).read(path)


@pytest.mark.parametrize(("values", "void"), [([0, 0], []), ([0, 255], [255]), ([-1, 0], []), ([0, 2**31], [])])
def test_each_value_has_one_meaning(values, void):
    with pytest.raises(ValueError, match="each to have one meaning"):
        IndexCoding.of(values, void)


def test_colours_are_packed_as_the_panoptic_format_does():
    colours = RNG.integers(0, 256, (50, 3)).astype(np.uint8)
    assert pack(colours).tolist() == [int(r) + 256 * int(g) + 256**2 * int(b) for r, g, b in colours]
