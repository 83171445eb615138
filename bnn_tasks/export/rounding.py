"""How far two results may be apart and still be the same but for rounding."""

from torch import Tensor

from bnn_tasks.export.builder import ParityError


def spread(x: Tensor) -> float:
    """Standard deviation; 0 of a single value."""
    return float(x.std()) if x.numel() > 1 else 0.0


def output_error(want: Tensor, got: Tensor) -> float:
    """Largest abs(want - got) in standard deviations of `want`, or in hundredths of its largest magnitude if those are more.

    The latter is for values that hardly differ, or not at all: rounding goes by their magnitude. One value alone has no
    deviation; its magnitude, or 1e-4 where that is less, takes its place.

    Args:
        want: torch's.
        got: the runtime's.

    Raises:
        ParityError: the shapes differ, or the error is above 1e-3.
    """
    if want.shape != got.shape:
        raise ParityError(
            f"Expected a raw output of shape {tuple(want.shape)}, but the runtime's is {tuple(got.shape)}."
        )
    most = float(want.abs().max())
    scale = max(spread(want), 1e-2 * most, 1e-6) if want.numel() > 1 else max(most, 1e-4)
    error = float((want - got).abs().max()) / scale
    if not error <= 1e-3:  # NaN and inf included
        raise ParityError(
            f"Expected finite raw outputs equal to torch's but for rounding, but they differ by {error:.3g} std."
        )
    return error
