"""What ε are: as users give them, in units of 1/255, and as attacks take them, in units of images in [0, 1]."""

import math
from collections.abc import Sequence

from torch import Tensor

from bnn_tasks.robustness.norms import get_norm
from bnn_tasks.tasks.robustness.rising import rising

SMALLEST = 0.05  # in units of 1/255; less is a radius that was meant for images in [0, 1]
LONGEST_LINF = 255.0  # in the same units; for L2 it depends on the images' size


def radius(name: str, value: float, norm: str = "linf") -> float:
    """`value`/255, if it can be a radius in units of 1/255.

    Args:
        name: of the argument.
        value: 0.05 at least, for L∞ 255 at most.
        norm: that it is measured in.

    Raises:
        ValueError: `value` is out of range.
    """
    most = LONGEST_LINF if get_norm(norm).name == "linf" else math.inf
    if not SMALLEST <= value <= most or math.isinf(value):
        raise ValueError(
            f"Expected `{name}` in units of 1/255, from {SMALLEST:g} to {most:g}, but got {value:g}. Cure: 8 for 8/255."
        )
    return value / 255


def radii(name: str, values: Sequence[float], norm: str = "linf") -> list[float]:
    """Rising radii, each as `radius` gives it.

    Args:
        name: of the argument.
        values: rising, in units of 1/255.
        norm: that they are measured in.

    Raises:
        ValueError: they do not rise, there are none, or one is out of range.
    """
    return [radius(name, value, norm) for value in rising(name, values)]


def check_reach(name: str, values: Sequence[float], norm: str, images: Tensor) -> None:
    """Refuse radii that are longer than any perturbation of some images.

    Args:
        name: of the argument.
        values: in units of the images.
        norm: that they are measured in.
        images: (B, C, H, W).

    Raises:
        ValueError: one is too long.
    """
    longest = get_norm(norm).largest(images)
    if (most := max(values)) > longest:
        raise ValueError(
            f"Expected `{name}` in units of 1/255, {255 * longest:.5g} at most for {norm!r} and images of "
            f"{tuple(images.shape[1:])}, but got {255 * most:g}."
        )
