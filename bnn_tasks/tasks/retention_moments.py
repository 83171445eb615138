"""Streaming normal equations: a linear regression and its held-out R² from first and second moments alone."""

import torch
from torch import Tensor

SMALLEST = 1e-12  # variance, relative to the squared mean, below which a channel is constant but for rounding


class Moments:
    """Count, means and centred second moments of pairs (x, y), gathered part by part in float64.

    Parts are merged with the update of Chan, Golub and LeVeque (1979), which, unlike Σ z·zᵀ - n·m·mᵀ, keeps its digits where
    a mean is large beside a deviation.

    Args:
        inputs: C, length of x.
        outputs: D, length of y.

    Attributes:
        count: n, pairs so far.
        mean: (C + D,) of z = (x, y).
        scatter: (C + D, C + D), Σ (z - mean)(z - mean)ᵀ.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        self.inputs = inputs
        self.count = 0
        self.mean = torch.zeros(inputs + outputs, dtype=torch.float64)
        self.scatter = torch.zeros(inputs + outputs, inputs + outputs, dtype=torch.float64)

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add pairs.

        Args:
            x: (P, C) float64; P may be 0.
            y: (P, D) float64.
        """
        if len(x) == 0:
            return
        z = torch.cat([x, y], dim=1).cpu()
        mean = z.mean(0)
        z = z - mean
        count = self.count + len(z)
        step = mean - self.mean
        self.scatter += z.T @ z + torch.outer(step, step) * (self.count * len(z) / count)
        self.mean += step * (len(z) / count)
        self.count = count


def held_out_r2(fitted: Moments, held_out: Moments, ridge: float) -> float:
    """R² of the regression of y on x, fitted on some pairs, on others.

    With z standardised by the fitted pairs' means and deviations, W = (Cxx + ridge·I)⁻¹ Cxy, C the fitted pairs' correlations;
    R² = 1 - Σ (y - Wᵀx)² / Σ (y - ȳ)², summed over the other pairs and over the channels of y, ȳ the other pairs' mean.

    Args:
        fitted: pairs to fit.
        held_out: pairs to judge on, of the same lengths.
        ridge: >= 0.

    Returns:
        At most 1; NaN where every channel of y is constant on one of the sides.
    """
    variance = fitted.scatter.diagonal() / fitted.count
    alive = variance > SMALLEST * fitted.mean.square()
    xs, ys = (torch.nonzero(part).flatten() for part in (alive[: fitted.inputs], alive[fitted.inputs :]))
    ys = ys + fitted.inputs
    deviation = variance.sqrt()
    correlation = fitted.scatter / fitted.count / torch.outer(deviation, deviation)
    square = correlation[xs][:, xs] + ridge * torch.eye(len(xs), dtype=torch.float64)
    # The pseudo-inverse: the shortest solution where channels are copies of each other and nothing regularises.
    weight = torch.linalg.pinv(square, hermitian=True) @ correlation[xs][:, ys]

    scatter = held_out.scatter / torch.outer(deviation, deviation)
    shift = (held_out.mean - fitted.mean) / deviation
    total = scatter.diagonal()[ys].sum()
    explained = 2 * (weight * scatter[xs][:, ys]).sum() - (weight * (scatter[xs][:, xs] @ weight)).sum()
    bias = held_out.count * (shift[ys] - shift[xs] @ weight).square().sum()
    return float(1 - (total - explained + bias) / total) if total > 0 else float("nan")
