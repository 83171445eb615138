"""Numbers about the latent weights of one binary layer, from plain arrays."""

import math

import numpy as np

TAU = 0.99  # ReCU's quantile at the end of training


def sign_balance(signs: np.ndarray) -> float:
    """Mean of the signs, in [-1, 1]; 0 where as many are +1 as -1.

    Args:
        signs: ±1, any shape.
    """
    return float(signs.mean(dtype=np.float64))


def entropy(signs: np.ndarray) -> np.ndarray:
    """H = -p·log2 p - (1-p)·log2(1-p) of every row, in bits, p the share of +1; in [0, 1], 1 where balanced.

    Args:
        signs: (O, n) ±1.

    Returns:
        (O,) float64.
    """
    p = (signs > 0).mean(axis=1, dtype=np.float64)
    bits = np.zeros_like(p)
    for share in (p, 1 - p):
        bits -= share * np.log2(np.where(share > 0, share, 1))
    return bits


def dead_share(weight: np.ndarray, tau: float = TAU) -> float:
    """Share of the weights in the tails that hardly ever change sign: abs(w) > Q, Q = -b·ln(2 - 2τ), b = mean(abs(w)).

    ReCU's definition (Xu et al., 2021): under a Laplace law of scale b, P(abs(w) <= Q) = 2τ - 1, so of weights that follow the
    law, 2 - 2τ are dead (2 % at τ = 0.99); more say that the tails are heavy, 0 that there are none.

    Args:
        weight: latent weights of a layer, any shape.
        tau: τ in [0.5, 1).
    """
    magnitude = np.abs(weight.astype(np.float64))
    return float((magnitude > -magnitude.mean() * math.log(2 - 2 * tau)).mean())


def cosine_deviation(gradient: np.ndarray, reference: np.ndarray) -> float:
    """d = 1 - cos(g, ĝ), in [0, 2] (Zhu et al., Unified INT8 training, 2020); NaN where one of them is 0.

    Args:
        gradient: g, any shape.
        reference: ĝ of the same shape.
    """
    g, r = gradient.astype(np.float64).ravel(), reference.astype(np.float64).ravel()
    norm = math.sqrt(float(g @ g)) * math.sqrt(float(r @ r))
    return 1 - float(g @ r) / norm if norm > 0 else math.nan
