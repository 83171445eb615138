"""Corruptions: repeatable, of the picture's shape, harsher with severity; means against their formulas."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bnn_tasks.data.classification.corrupted import CorruptedSource
from bnn_tasks.data.classification.pictures import ArraySource
from bnn_tasks.data.corrupted import Corrupted, CorruptedReader
from bnn_tasks.robustness.corruptions import CORRUPTIONS, SEVERITIES, Corruption, CorruptionScores, corrupt

library = pytest.importorskip("imagecorruptions", reason="needs the extra [robust]")


def picture(height: int = 41, width: int = 57, seed: int = 0) -> np.ndarray:
    """Coarse blocks of colour: blurs and noise both show."""
    blocks = np.random.default_rng(seed).integers(30, 226, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return np.ascontiguousarray(np.kron(blocks, np.ones((8, 8, 1), np.uint8))[:height, :width])


def damage(image: np.ndarray, name: str, severity: int, seed: int) -> float:
    return float(np.abs(corrupt(image, name, severity, seed).astype(float) - image).mean())


def test_the_names_are_the_librarys() -> None:
    assert list(CORRUPTIONS) == library.get_corruption_names("common")


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_shape_range_and_damage(name: str) -> None:
    image = picture()
    kept = image.copy()
    made = corrupt(image, name, 3, 0)
    assert made.shape == image.shape
    assert made.dtype == np.uint8
    assert np.array_equal(image, kept), "the picture itself is not written to"
    low, high = (np.mean([damage(picture(seed=i), name, s, i) for i in range(3)]) for s in (1, 5))
    assert low > 0
    # frost is one of six photographs: how much it differs from a picture says little of how much it hides
    assert high > low or name == "frost"


def test_damage_rises_with_severity_on_average() -> None:
    means = [np.mean([damage(picture(), name, severity, 0) for name in CORRUPTIONS]) for severity in SEVERITIES]
    assert means == sorted(means)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_one_seed_gives_one_picture(name: str) -> None:
    image = picture()
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.random(3)  # noqa: NPY002
    first = corrupt(image, name, 2, 7)
    np.random.seed(5)  # noqa: NPY002
    assert np.array_equal(corrupt(image, name, 2, 7), first)
    assert np.array_equal(np.random.random(3), expected), "numpy's own stream goes on as if nothing had been"  # noqa: NPY002
    random = name not in {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
    assert np.array_equal(corrupt(image, name, 2, 8), first) != random


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(40, 33), (33, 40, 1)])
def test_grey_pictures_keep_their_shape(name: str, shape: tuple[int, ...]) -> None:
    grey = picture()[: shape[0], : shape[1], 0].reshape(shape)
    made = corrupt(grey, name, 3, 0)
    assert made.shape == shape
    assert made.dtype == np.uint8
    assert not np.array_equal(made, grey)


def test_a_grey_pictures_noise_is_as_strong_as_a_coloured_ones() -> None:
    grey = np.full((64, 64), 128, np.uint8)
    made = corrupt(grey, "gaussian_noise", 1, 0).astype(float)
    assert made.std() == pytest.approx(0.08 * 255, rel=0.05)  # severity 1 of ImageNet-C


def test_against_the_library_called_directly() -> None:
    image = picture()
    (seed,) = np.random.SeedSequence([3, CORRUPTIONS.index("shot_noise"), 4]).generate_state(1)
    np.random.seed(seed)  # noqa: NPY002
    assert np.array_equal(corrupt(image, "shot_noise", 4, 3), library.corrupt(image, 4, "shot_noise"))


@pytest.mark.parametrize("channels", [1, 3])
def test_batches_of_images_in_0_1(channels: int) -> None:
    pixels = np.stack([picture(32, 36, seed)[..., :channels] for seed in range(4)])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).double() / 255
    corruption = Corruption("impulse_noise", 3, seed=1)
    made = corruption(images)
    assert made.shape == images.shape
    assert made.dtype == images.dtype
    assert float(made.min()) >= 0
    assert float(made.max()) <= 1
    assert not torch.equal(made, images)
    halves = torch.cat([corruption(images[:1]), corruption(images[1:], first=1)])
    assert torch.equal(halves, made), "the size of the batches changes nothing"
    same = corruption(images[:1].expand(2, -1, -1, -1))
    assert not torch.equal(same[0], same[1]), "but every image has noise of its own"


def test_pictures_corrupted_as_they_are_read(tmp_path: Path) -> None:
    images = np.stack([picture(seed=0), picture(seed=1)])
    read = CorruptedReader(lambda path: images[int(path.stem)], Corrupted("gaussian_noise", 2, seed=3))
    one, other = read(tmp_path / "0.png"), read(tmp_path / "1.png")
    assert np.array_equal(read(Path("elsewhere/0.png")), one)
    assert not np.array_equal(one - images[0].astype(int), other - images[1].astype(int))
    source = CorruptedSource(ArraySource(images, ["0.png", "1.png"]), Corrupted("gaussian_noise", 2, seed=3))
    assert np.array_equal(source.read("0.png"), one)
    with pytest.raises(ValueError, match=r"small\.png: .*at least 32"):
        CorruptedReader(lambda path: images[0, :8], Corrupted("fog", 1))(Path("small.png"))


SCORES = CorruptionScores(0.8, {"fog": [0.7, 0.6, 0.5, 0.4, 0.3], "snow": [0.4, 0.4, 0.3, 0.2, 0.2]})
BASE = CorruptionScores(0.6, {"snow": [0.2, 0.2, 0.1, 0.1, 0.0], "fog": [0.5, 0.4, 0.4, 0.2, 0.1]})


def test_means() -> None:
    assert SCORES.mean_performance() == pytest.approx((0.5 + 0.3) / 2)
    assert SCORES.relative_performance() == pytest.approx(0.4 / 0.8)
    np.testing.assert_allclose(SCORES.by_severity(), [0.55, 0.5, 0.4, 0.3, 0.25])
    assert SCORES.corruption_error(BASE) == pytest.approx((2.5 / 3.4 + 3.5 / 4.4) / 2)
    assert SCORES.corruption_error(SCORES) == pytest.approx(1)
    assert SCORES.relative_corruption_error(BASE) == pytest.approx(((2.5 - 1) / (3.4 - 2) + (3.5 - 1) / (4.4 - 2)) / 2)
    assert np.isnan(CorruptionScores(0.0, {"fog": [0.0] * 5}).relative_performance())


def test_means_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="at least one corruption"):
        CorruptionScores(1.0, {})
    with pytest.raises(ValueError, match=r"5 scores of 'fog'.*got 2"):
        CorruptionScores(1.0, {"fog": [1.0, 0.5]})
    with pytest.raises(ValueError, match="baseline's corruptions"):
        SCORES.corruption_error(CorruptionScores(1.0, {"fog": [0.5] * 5}))
    with pytest.raises(ValueError, match="shares in"):
        CorruptionScores(50, {"fog": [40] * 5}).corruption_error(CorruptionScores(50, {"fog": [40] * 5}))
    perfect = CorruptionScores(1.0, {"fog": [1.0] * 5})
    with pytest.raises(ValueError, match="costs it nothing"):
        perfect.corruption_error(perfect)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((picture(), "rain", 1, 0), ValueError, r"`name`.*gaussian_noise.*'rain'"),
        ((picture(), "fog", 0, 0), ValueError, "`severity` to be 1, 2, 3, 4 or 5, but got 0"),
        ((picture(), "fog", 1, -1), ValueError, "`seed`"),
        ((picture() / 255, "fog", 1, 0), TypeError, "uint8 array.*float64.*0 … 255"),
        ((picture()[:, :31], "fog", 1, 0), ValueError, r"32 pixels a side, but got 41 × 31.*resize"),
        ((np.zeros((40, 40, 4), np.uint8), "fog", 1, 0), ValueError, r"shape \(40, 40, 4\)"),
    ],
)
def test_what_is_refused(arguments: tuple, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        corrupt(*arguments)


def test_batches_that_are_refused() -> None:
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        Corruption("fog", 1)(torch.full((1, 3, 32, 32), 1.5))
    with pytest.raises(ValueError, match="`severity`"):
        Corruption("fog", 6)


def test_a_missing_library_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    with pytest.raises(ImportError, match=r"imagecorruptions-imaug.*pip install \"bnn-tasks\[robust\]\""):
        corrupt(picture(), "fog", 1, 0)
