"""The fifteen common corruptions at five severities, and the means that sum them up.

Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, 2019. They are
computed by the library imagecorruptions-imaug, with the strengths of ImageNet-C for pictures of every size: on 32 × 32 pixels
they are harsher than those of CIFAR-10-C.
"""

import contextlib
import importlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bnn_tasks.robustness.norms import check_images

CORRUPTIONS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
SEVERITIES = (1, 2, 3, 4, 5)
SMALLEST_SIDE = 32  # pixels: what the library takes
SEEDED = {"impulse_noise", "glass_blur"}  # these draw from a generator of their own, the others from numpy's global one
GREEN = 1  # of a grey picture, corrupted as RGB, the channel that is kept: luma would average its noise away


def _check(image: np.ndarray, name: str, severity: int, seed: int) -> None:
    if name not in CORRUPTIONS:
        raise ValueError(f"Expected `name` to be one of {', '.join(CORRUPTIONS)}, but got {name!r}.")
    if severity not in SEVERITIES:
        raise ValueError(f"Expected `severity` to be 1, 2, 3, 4 or 5, but got {severity!r}.")
    if seed < 0:
        raise ValueError(f"Expected `seed` to be >= 0, but got {seed}.")
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        got = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise TypeError(f"Expected `image` to be a uint8 array, but got {got}. Cure: values 0 … 255, RGB.")
    if image.ndim not in (2, 3) or image.shape[2:] not in ((), (1,), (3,)):
        raise ValueError(f"Expected `image` to be (H, W), (H, W, 1) or (H, W, 3), but got shape {image.shape}.")
    if min(image.shape[:2]) < SMALLEST_SIDE:
        raise ValueError(
            f"Expected `image` to be at least {SMALLEST_SIDE} pixels a side, but got {image.shape[0]} × {image.shape[1]}: "
            "blurs and weather are wider than that. Cure: resize the picture first, and say so beside the result."
        )


def corruption_library() -> ModuleType:
    """The library that draws the corruptions.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return importlib.import_module("imagecorruptions")
    except ImportError as error:
        raise ImportError(
            f"Expected the library imagecorruptions-imaug, but it cannot be imported: {error}. "
            'Cure: pip install "bnn-tasks[robust]".'
        ) from error


def chosen_corruptions(names: Sequence[str] | None) -> list[str]:
    """Which corruptions are meant.

    Args:
        names: of `CORRUPTIONS`; None is all.

    Raises:
        ValueError: an unknown one, or none.
    """
    chosen = list(CORRUPTIONS if names is None else names)
    if not chosen or not set(chosen) <= set(CORRUPTIONS):
        raise ValueError(f"Expected `corruptions` to be some of {list(CORRUPTIONS)}, but got {chosen}.")
    return chosen


def corrupt(image: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
    """Corrupt one picture; the same arguments give the same picture.

    numpy's global random state is set on the way, and put back: do not corrupt in several threads of one process.

    Args:
        image: uint8 RGB (H, W, 3), or grey (H, W) or (H, W, 1); at least 32 pixels a side.
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: of everything random, >= 0; corruptions and severities draw from streams of their own.

    Returns:
        uint8, of the same shape. A grey picture is corrupted as RGB, and its green channel kept.

    Raises:
        ImportError: the library is not installed.
        TypeError: `image` is no uint8 array.
        ValueError: another argument is out of range.
    """
    _check(image, name, severity, seed)
    library = corruption_library()
    rgb = image if image.shape[2:] == (3,) else np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    (drawn,) = np.random.SeedSequence([seed, CORRUPTIONS.index(name), severity]).generate_state(1)
    arguments = {"seed": int(drawn)} if name in SEEDED else {}
    state = np.random.get_state()  # noqa: NPY002  the library draws from it
    np.random.seed(drawn)  # noqa: NPY002
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints where a zoomed layer is a pixel short, and goes on
            made = library.corrupt(np.ascontiguousarray(rgb), severity, name, **arguments)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    return np.asarray(made if image.shape[2:] == (3,) else made[..., GREEN].reshape(image.shape))


class Corruption:
    """A corruption of images in [0, 1], as attacks and tasks have them; they are rounded to 8 bits first.

    Args:
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: >= 0.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, name: str, severity: int, seed: int = 0) -> None:
        _check(np.zeros((SMALLEST_SIDE, SMALLEST_SIDE), np.uint8), name, severity, seed)
        self.name, self.severity, self.seed = name, severity, seed

    def __call__(self, images: Tensor, first: int = 0) -> Tensor:
        """Corrupt a batch.

        Args:
            images: (B, C, H, W) in [0, 1], C 1 or 3, at least 32 pixels a side.
            first: place of the batch's first image among all images, >= 0; image i is corrupted with a seed of its own, which
                `seed` and `first` + i fix, so that the size of the batches changes nothing.

        Returns:
            Images of the same shape, dtype and device.

        Raises:
            ImportError: the library is not installed.
            TypeError: `images` are integers.
            ValueError: images outside [0, 1], or of another shape.
        """
        check_images(images)
        pixels = (images.detach().float() * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        made = [
            corrupt(image, self.name, self.severity, self._seed(first + place)) for place, image in enumerate(pixels)
        ]
        return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).to(images) / 255

    def _seed(self, place: int) -> int:
        return int(np.random.SeedSequence([self.seed, place]).generate_state(1)[0])


@dataclass(frozen=True)
class CorruptionScores:
    """A metric on clean and corrupted images.

    Attributes:
        clean: on the images as they are; higher is better.
        scores: corruption -> the metric at severities 1 to 5.

    Raises:
        ValueError: there is no corruption, or one lacks a severity.
    """

    clean: float
    scores: Mapping[str, Sequence[float]]

    def __post_init__(self) -> None:
        if not self.scores:
            raise ValueError("Expected `scores` of at least one corruption, but got none.")
        for name, values in self.scores.items():
            if len(values) != len(SEVERITIES):
                raise ValueError(
                    f"Expected {len(SEVERITIES)} scores of {name!r}, one a severity, but got {len(values)}."
                )

    def mean_performance(self) -> float:
        """mPC: the mean over corruptions of the mean over severities.

        Michaelis et al., Benchmarking Robustness in Object Detection: Autonomous Driving when Winter is Coming, 2019.
        """
        return float(np.mean([np.mean(values) for values in self.scores.values()]))

    def relative_performance(self) -> float:
        """rPC = mPC / clean (Michaelis et al., 2019); NaN where the clean score is 0."""
        return self.mean_performance() / self.clean if self.clean else float("nan")

    def by_severity(self) -> list[float]:
        """The mean over corruptions at severities 1 to 5."""
        return [float(value) for value in np.mean(list(self.scores.values()), axis=0)]

    def to_json(self) -> dict[str, Any]:
        """All figures; ``rpc`` may be NaN."""
        return {
            "clean": self.clean,
            "mpc": self.mean_performance(),
            "rpc": self.relative_performance(),
            "by_severity": self.by_severity(),
            "scores": {name: list(values) for name, values in self.scores.items()},
        }

    def corruption_error(self, baseline: "CorruptionScores") -> float:
        """mCE = mean over corruptions c of Σ_s E_{s,c} / Σ_s E'_{s,c}, E = 1 - score (Hendrycks and Dietterich, 2019).

        Args:
            baseline: whose errors are E'; the paper's is AlexNet.

        Raises:
            ValueError: scores are not shares in [0, 1], corruptions differ, or the baseline makes no error.
        """
        return self._ratio(baseline, 0.0, 0.0)

    def relative_corruption_error(self, baseline: "CorruptionScores") -> float:
        """Relative mCE: as mCE, of the errors beyond the clean one, E_{s,c} - E_clean (Hendrycks and Dietterich, 2019).

        Args:
            baseline: as of `corruption_error`.

        Raises:
            ValueError: as of `corruption_error`.
        """
        return self._ratio(baseline, 1 - self.clean, 1 - baseline.clean)

    def _ratio(self, baseline: "CorruptionScores", own_offset: float, other_offset: float) -> float:
        if self.scores.keys() != baseline.scores.keys():
            raise ValueError(
                f"Expected the baseline's corruptions, {list(baseline.scores)}, but got {list(self.scores)}."
            )
        ratios = []
        for name, values in self.scores.items():
            own, other = np.asarray(values, float), np.asarray(baseline.scores[name], float)
            if not all(((part >= 0) & (part <= 1)).all() for part in (own, other)):
                raise ValueError(f"Expected the scores of {name!r} to be shares in [0, 1], but some are not.")
            below = float((1 - other - other_offset).sum())
            if below == 0:
                raise ValueError(f"Expected a baseline that {name!r} costs something, but it costs it nothing.")
            ratios.append(float((1 - own - own_offset).sum()) / below)
        return float(np.mean(ratios))
