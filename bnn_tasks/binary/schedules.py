"""Functions of training progress: one mechanism for learning rates and for what sharpens during binarisation.

A schedule maps progress in [0, 1] (steps done / steps in the whole run) to a factor, so it survives resume and does not
depend on how long the run is.
"""

import math


class Schedule:
    """Base class: progress in [0, 1] -> factor."""

    def __call__(self, progress: float) -> float:
        """The factor at `progress`, in [0, 1]."""
        raise NotImplementedError


class Constant(Schedule):
    """factor = 1."""

    def __call__(self, progress: float) -> float:
        """Always 1."""
        return 1.0


class Cosine(Schedule):
    """Half a cosine from 1 down to 0 (Loshchilov & Hutter, SGDR, 2017), after an optional linear warm-up.

    Args:
        warmup: share of the run, in [0, 1), during which the factor rises linearly from 0 to 1.

    Raises:
        ValueError: `warmup` is out of range.
    """

    def __init__(self, warmup: float = 0.0) -> None:
        if not 0 <= warmup < 1:
            raise ValueError(f"Expected `warmup` to be in [0, 1), but got {warmup}.")
        self.warmup = warmup

    def __call__(self, progress: float) -> float:
        """progress / warmup at first, then (1 + cos(π·t)) / 2."""
        if progress < self.warmup:
            return progress / self.warmup
        t = min((progress - self.warmup) / (1 - self.warmup), 1.0)
        return (1 + math.cos(math.pi * t)) / 2


class OneCycle(Schedule):
    """One cosine up from `start` to 1 and one down to `end` (Smith & Topin, Super-Convergence, 2018; torch's OneCycleLR).

    Args:
        peak: share of the run at which the factor is 1, in (0, 1); torch's `pct_start`, default 0.3.
        start: first factor, in [0, 1]; torch's 1 / div_factor, default 1/25.
        end: last factor, in [0, 1]; torch's start / final_div_factor, default start / 1e4.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, peak: float = 0.3, start: float = 0.04, end: float = 4e-6) -> None:
        if not 0 < peak < 1:
            raise ValueError(f"Expected `peak` to be in (0, 1), but got {peak}.")
        for name, value in (("start", start), ("end", end)):
            if not 0 <= value <= 1:
                raise ValueError(f"Expected `{name}` to be in [0, 1], but got {value}.")
        self.peak, self.start, self.end = peak, start, end

    def __call__(self, progress: float) -> float:
        """Cosine interpolation start -> 1 -> end."""
        if progress < self.peak:
            low, t = self.start, 1 - progress / self.peak
        else:
            low, t = self.end, min((progress - self.peak) / (1 - self.peak), 1.0)
        return low + (1 - low) * (1 + math.cos(math.pi * t)) / 2
