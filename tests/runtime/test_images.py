import io
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from bnn_tasks.runtime import images
from bnn_tasks.runtime.images import ImageError, image_size, is_turned, read_image

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)

ORIENTED = {  # EXIF's own words: where row 0 and column 0 of the stored picture are to be seen
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


def orientation(value):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = value
    return exif


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("value", ORIENTED)
def test_exif_orientation_is_applied(tmp_path, value, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(RGB).save(path, exif=orientation(value))
    expected = ORIENTED[value](RGB)
    np.testing.assert_array_equal(read_image(path), expected)
    assert image_size(path) == expected.shape[:2]


def test_jpeg_orientation_is_applied(tmp_path):
    picture = Image.fromarray(RGB).resize((40, 24))
    picture.save(tmp_path / "plain.jpg")
    picture.save(tmp_path / "turned.jpg", exif=orientation(6))
    np.testing.assert_array_equal(read_image(tmp_path / "turned.jpg"), np.rot90(read_image(tmp_path / "plain.jpg"), -1))
    assert image_size(tmp_path / "turned.jpg") == (40, 24)


def test_an_orientation_after_the_pixels_is_seen_by_nobody(tmp_path):
    """PNG's chunks: length, name, content, CRC-32; the last one, IEND, has 12 bytes."""
    Image.fromarray(RGB).save(tmp_path / "a.png")
    whole, content = (tmp_path / "a.png").read_bytes(), orientation(6).tobytes().removeprefix(b"Exif\0\0")
    late = struct.pack(">I", len(content)) + b"eXIf" + content + struct.pack(">I", zlib.crc32(b"eXIf" + content))
    (tmp_path / "a.png").write_bytes(whole[:-12] + late + whole[-12:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB)
    assert image_size(tmp_path / "a.png") == RGB.shape[:2]
    assert not is_turned(tmp_path / "a.png")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\x7f", orientation(9).tobytes()])
def test_broken_exif_is_no_orientation(tmp_path, exif):
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB)


GREY = RGB[..., 0]
ALPHA = np.array([[0, 255, 128]], np.uint8)
COLOUR = np.array([[[10, 20, 30], [40, 50, 60], [70, 80, 90]]], np.uint8)
ON_WHITE = np.array([[[255, 255, 255], [40, 50, 60], [162, 167, 172]]], np.uint8)
GREY_ON_WHITE = np.array([[255, 40, 162]], np.uint8)


def triple(grey):
    return np.repeat(np.asarray(grey, np.uint8)[..., None], 3, -1)


def palette(transparency=None):
    picture = Image.new("P", (3, 1))
    picture.putdata([0, 1, 2])
    picture.putpalette(COLOUR.ravel().tolist())
    if transparency is not None:
        picture.info["transparency"] = transparency
    return picture


MODES = {
    "L": (Image.fromarray(GREY), triple(GREY)),
    "1": (Image.fromarray(GREY > 127), triple((GREY > 127) * 255)),
    "LA": (Image.merge("LA", [Image.fromarray(COLOUR[..., 0]), Image.fromarray(ALPHA)]), triple(GREY_ON_WHITE)),
    "RGBA": (Image.fromarray(np.dstack([COLOUR, ALPHA])), ON_WHITE),
    "P": (palette(), COLOUR),
    "P with a clear colour": (palette(bytes([0, 255, 128])), ON_WHITE),
    "I;16": (Image.fromarray(np.array([[0, 257, 65535, 128, 129]], np.uint16)), triple([[0, 1, 255, 0, 1]])),
    "RGB": (Image.fromarray(RGB), RGB),
}


@pytest.mark.parametrize("mode", MODES)
def test_png_modes(tmp_path, mode):
    picture, expected = MODES[mode]
    picture.save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert read.dtype == np.uint8
    assert read.flags.writeable
    np.testing.assert_allclose(read.astype(int), expected.astype(int), atol=1 if "A" in mode or "clear" in mode else 0)


TIFF_MODES = {
    "I": (np.array([[0, 257, 65535]], np.int32), [[0, 1, 255]]),
    "F of 16 bits": (np.array([[0, 257.4, 65535]], np.float32), [[0, 1, 255]]),
    "F of one": (np.array([[0, 0.5, 1]], np.float32), [[0, 128, 255]]),
}


@pytest.mark.parametrize("mode", TIFF_MODES)
def test_16_bits_are_scaled(tmp_path, mode):
    values, expected = TIFF_MODES[mode]
    Image.fromarray(values).save(tmp_path / "a.tiff")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tiff"), triple(expected))


@pytest.mark.parametrize("value", [-1.0, 65536.0, np.nan, np.inf])
def test_values_beyond_16_bits_are_refused(tmp_path, value):
    Image.fromarray(np.array([[0, value]], np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(ImageError, match=r"a\.tiff.*in \[0, 65535\].*rescale"):
        read_image(tmp_path / "a.tiff")


def test_cmyk(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg")[8, 8], [255, 0, 0], atol=4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 20_000), (20_000, 1)])
def test_extreme_shapes(tmp_path, shape):
    Image.fromarray(np.full((*shape, 3), 7, np.uint8)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (*shape, 3)
    assert image_size(tmp_path / "a.png") == shape


def test_stream():
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, "png")
    stream.seek(0)
    np.testing.assert_array_equal(read_image(stream), RGB)


def png_header(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 10)) + chunk(b"IEND", b"")


def encoded(kind):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)).save(stream, kind)
    return stream.getvalue()


DAMAGED = {
    "truncated jpeg": encoded("jpeg")[:1500],
    "truncated png": encoded("png")[:1500],
    "no picture": b"just some text",
    "empty": b"",
    "bomb": png_header(20_000, 20_000),
    "no width": png_header(0, 5),
    "broken png chunk": encoded("png").replace(b"IDAT", b"ID\0T"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_files_are_named(tmp_path, kind):
    path = tmp_path / "some picture.jpg"
    path.write_bytes(DAMAGED[kind])
    with pytest.raises(ImageError, match=r"some picture\.jpg"):
        read_image(path)


def test_damaged_stream_is_an_image_error():
    with pytest.raises(ImageError, match="stream"):
        read_image(io.BytesIO(b"text"))


def test_missing_file_and_folder_are_named(tmp_path):
    for path in (tmp_path / "missing.jpg", tmp_path):
        with pytest.raises(ImageError, match=str(path)):
            read_image(path)
        with pytest.raises(ImageError, match=str(path)):
            image_size(path)


def test_pixel_limit_is_ours(tmp_path, monkeypatch):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 34)
    with pytest.raises(ImageError, match=r"a\.png.*scale the picture down"):
        read_image(tmp_path / "a.png")
