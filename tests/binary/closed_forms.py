"""The registered methods a second time, in numpy, from the papers' formulas (shared/reference/methods.md, B0-B25).

A form is written once, as what the method computes going forward, in terms of two operations that say what its backward
sees: ``through(value, carrier)`` has the value of `value` and the derivative of `carrier`, ``hold(value)`` has none. Going
forward they are the value. For backward, `Frozen` keeps the values of a first evaluation, so that finite differences of the
form around that point are the gradients that the method states.
"""

import math
from collections.abc import Callable

import numpy as np
from finite_differences import Array, Form, Forward, State


def sgn(x: Array) -> Array:
    return np.where(x >= 0, 1.0, -1.0)


def sharpness(p: float, start: float, end: float) -> float:
    return 10 ** (math.log10(start) + (math.log10(end) - math.log10(start)) * p)


# Antiderivatives of the surrogate gradients, as functions of x and the progress.


def identity(x: Array, p: float) -> Array:
    return x


def hardtanh(x: Array, p: float) -> Array:
    return np.clip(x, -1, 1)


def approx_sign(x: Array, p: float) -> Array:
    inner = np.where(x < 0, 2 * x + x**2, 2 * x - x**2)
    return np.where(x < -1, -1, np.where(x >= 1, 1, inner))


def sign_swish(x: Array, p: float, beta: float = 5.0) -> Array:
    s = 1 / (1 + np.exp(-beta * x))
    return 2 * s * (1 + beta * x * (1 - s)) - 1


def ede(x: Array, p: float, start: float = 1e-1, end: float = 10.0) -> Array:
    t = sharpness(p, start, end)
    return max(1 / t, 1) * np.tanh(t * x)


def training_aware(x: Array, p: float) -> Array:
    t = sharpness(p, 1e-2, 10)
    m = np.minimum(np.abs(x), math.sqrt(2) / t)
    return max(1 / t, 1) * sgn(x) * (2 * math.sqrt(t * t / 2) * m - t * t * m * m / 2)


def fourier(x: Array, p: float, terms: int = 10, omega: float = math.pi / 4) -> Array:
    x = np.clip(x, -math.pi / (2 * omega), math.pi / (2 * omega))
    odd = 2 * np.arange(terms) + 1
    return 4 / math.pi * (np.sin(odd * omega * x[..., None]) / odd).sum(-1)


Surrogate = Callable[[Array, float], Array]


def mean(w: Array) -> Array:
    return w.mean(axis=tuple(range(1, w.ndim)), keepdims=True)


def per_filter(values: Array, w: Array) -> Array:
    return values.reshape(-1, *[1] * (w.ndim - 1))


def signs(surrogate: Surrogate) -> Form:
    """sgn(x), for weights and activations alike."""
    return lambda x, p, state, do: do.through(sgn(x), surrogate(x, p))


def analytic(surrogate: Surrogate) -> Form:
    """B4: α = ‖W‖₁/n."""
    return lambda w, p, state, do: mean(np.abs(w)) * do.through(sgn(w), surrogate(w, p))


def balanced(w: Array, p: float, state: State, do: Forward) -> Array:
    """B25, BBG."""
    return analytic(hardtanh)(w - mean(w), p, state, do)


def magnitude_aware(w: Array, p: float, state: State, do: Forward) -> Array:
    """B14."""
    return do.through(mean(np.abs(w)) * sgn(w), hardtanh(w, p))


def layer_scale(w: Array, p: float, state: State, do: Forward) -> Array:
    """B8, and B23's branch."""
    return do.through(np.abs(w).mean() * sgn(w), w)


def loss_aware(w: Array, p: float, state: State, do: Forward) -> Array:
    """B9."""
    d = state["curvature"]
    return do.through(np.abs(d * w).sum() / np.abs(d).sum() * sgn(w), w)


def learned_scale(w: Array, p: float, state: State, do: Forward) -> Array:
    """B5, case 1."""
    return per_filter(state["scale"], w) * do.through(sgn(w), hardtanh(w, p))


def spatial(w: Array, p: float, state: State, do: Forward) -> Array:
    """B5, cases 2 to 4: Γ is of the output; a linear layer, which has one place, has case 1's."""
    return learned_scale(w, p, state if w.ndim == 2 else {"scale": np.ones(len(w))}, do)


def least_squares(w: Array, p: float, state: State, do: Forward) -> Array:
    """B7, M = 3, channel-wise."""
    value, slope = np.zeros_like(w), np.zeros(len(w))
    for o, row in enumerate(w.reshape(len(w), -1)):
        bases = np.stack([sgn(row - row.mean() + u * row.std(ddof=1)) for u in (-1, 0, 1)], 1)
        alpha = np.linalg.lstsq(bases, row, rcond=None)[0]
        value[o], slope[o] = (bases @ alpha).reshape(w.shape[1:]), alpha.sum()
    return do.through(value, do.hold(per_filter(slope, w)) * w)


def two_phases(x: Array, p: float, state: State, do: Forward) -> Array:
    """B3, λ = 0; weights and activations."""
    return np.tanh(x) if p < 0.5 else do.through(sgn(x), x)


def self_binarizing(end: float) -> Form:
    """B0, B25."""

    def form(x: Array, p: float, state: State, do: Forward) -> Array:
        soft = np.tanh(sharpness(p, 1, end) * x)
        return do.through(sgn(x), soft) if p == 1 else soft

    return form


def libra(w: Array, p: float, state: State, do: Forward) -> Array:
    """B18."""
    standard = (w - mean(w)) / w.std(axis=tuple(range(1, w.ndim)), ddof=1, keepdims=True)
    shift = np.round(np.log2(mean(np.abs(standard))))
    return 2.0 ** do.hold(shift) * do.through(sgn(standard), ede(standard, p))


def rectified(w: Array, p: float, state: State, do: Forward) -> Array:
    """B19, ReCU."""
    tau = 0.85 + (0.99 - 0.85) * (math.exp(p) - 1) / (math.e - 1)
    variance = w.var(axis=tuple(range(1, w.ndim)), ddof=1, keepdims=True)
    w1 = (w - mean(w)) / (np.sqrt(variance + 1e-5) / (2 * math.sqrt(2)))
    q = do.hold(-np.abs(w1).mean() * math.log(2 - 2 * tau))
    w2 = np.clip(w1, -q, q)
    return per_filter(state["alpha"], w) * do.through(sgn(w2), w2)


def rotated(w: Array, p: float, state: State, do: Forward) -> Array:
    """B19, RBNN."""
    r1, r2 = state["left"], state["right"]
    w0 = (w - mean(w)) / w.std(axis=tuple(range(1, w.ndim)), ddof=1, keepdims=True)
    turned = np.stack([r1.T @ row.reshape(len(r1), len(r2)) @ r2 for row in w0]).reshape(w.shape)
    moved = w0 + abs(np.sin(per_filter(state["theta"], w))) * (do.hold(turned) - w0)
    return per_filter(state["alpha"], w) * do.through(sgn(moved), training_aware(moved, p))


def affine_weight(w: Array, p: float, state: State, do: Forward) -> Array:
    """B19, AdaBin."""
    beta = mean(w)
    alpha = np.sqrt(((w - beta) ** 2).sum(axis=tuple(range(1, w.ndim)), keepdims=True) / w[0].size)
    u = (w - beta) / alpha
    return alpha * do.through(sgn(u), ede(u, p)) + beta


def soft_quantized(x: Array, p: float, state: State, do: Forward) -> Array:
    """B17, one interval; weights and activations."""
    lower, upper, alpha = state["lower"], state["upper"], np.clip(state["alpha"], 1e-3, 0.5)
    delta, m = upper - lower, (lower + upper) / 2
    k, s = np.log(2 / alpha - 1) / delta, 1 / (1 - alpha)
    phi = s * np.tanh(k * (np.clip(x, lower, upper) - m))
    return lower + delta * (do.through(sgn(x - m), phi) + 1) / 2


def circulant(w: Array, p: float, state: State, do: Forward) -> Array:
    """B25, CBCN: turns by 90°, gradients averaged over them."""
    turns = np.stack([np.rot90(w, -r, axes=(2, 3)) for r in range(4)], 1).reshape(-1, *w.shape[1:])
    return magnitude_aware(do.through(turns, turns / 4), p, state, do)


def real(x: Array, p: float, state: State, do: Forward) -> Array:
    return x


def zero_one(x: Array, p: float, state: State, do: Forward) -> Array:
    """B8, k = 1: quantize_1 = round, halves up."""
    clipped = np.clip(x, 0, 1)
    return do.through(np.floor(clipped + 0.5), clipped)


def shifted_bases(x: Array, p: float, state: State, do: Forward) -> Array:
    """B7."""
    total = np.zeros_like(x)
    for beta, v in zip(state["beta"], state["shift"], strict=True):
        h = np.clip(x + v, 0, 1)
        total = total + beta * do.through(np.where(h >= 0.5, 1.0, -1.0), h)
    return total


def residuals(x: Array, p: float, state: State, do: Forward) -> Array:
    """B6, K = 2, for the one patch of a linear layer."""
    total, residual = np.zeros_like(x), x
    for _ in range(2):
        plane = do.hold(np.abs(residual).mean(1, keepdims=True)) * do.through(sgn(residual), hardtanh(residual, p))
        total, residual = total + plane, residual - plane
    return total


def shifted_sign(x: Array, p: float, state: State, do: Forward) -> Array:
    """B19, RSign."""
    u = x - state["theta"]
    return do.through(sgn(u), approx_sign(u, p))


def divided_sign(x: Array, p: float, state: State, do: Forward) -> Array:
    """B19, ReCU in training."""
    u = x / x.std(axis=1, ddof=1, keepdims=True)
    return do.through(sgn(u), approx_sign(u, p))


def affine_sign(x: Array, p: float, state: State, do: Forward) -> Array:
    """B19, AdaBin: the paper's α·sgn + β."""
    alpha, beta = abs(state["alpha"]), state["beta"]
    u = (x - beta) / alpha
    return alpha * do.through(sgn(u), approx_sign(u, p)) + beta


# Method -> its weight and its activation.
FORMS: dict[str, tuple[Form, Form]] = {
    "abc_net": (least_squares, shifted_bases),
    "adabin": (affine_weight, affine_sign),
    "bbg": (balanced, signs(hardtanh)),
    "binary_connect": (signs(identity), real),
    "binary_connect_stochastic": (signs(identity), real),  # in evaluation
    "bireal": (magnitude_aware, signs(approx_sign)),
    "bitwise": (two_phases, two_phases),
    "bnn": (signs(hardtanh), signs(hardtanh)),
    "bnn_plus": (analytic(sign_swish), signs(sign_swish)),
    "bop": (signs(identity), signs(hardtanh)),
    "bwn": (analytic(hardtanh), real),
    "cbcn": (circulant, signs(approx_sign)),
    "dorefa": (layer_scale, zero_one),
    "dorefa_1_1_8": (layer_scale, zero_one),
    "dsq": (soft_quantized, soft_quantized),
    "fda": (analytic(fourier), signs(fourier)),
    "group_net": (layer_scale, signs(approx_sign)),
    "horq": (analytic(hardtanh), residuals),
    "ir_net": (libra, signs(ede)),
    "lab": (loss_aware, signs(hardtanh)),
    "rbnn": (rotated, signs(training_aware)),
    "react": (magnitude_aware, shifted_sign),
    "recu": (rectified, divided_sign),
    "self_binarizing": (self_binarizing(1000), self_binarizing(100)),
    "xnor": (analytic(hardtanh), signs(hardtanh)),
    "xnor_k": (analytic(hardtanh), signs(hardtanh)),
    "xnor_pp": (learned_scale, signs(hardtanh)),
    "xnor_pp_full": (spatial, signs(hardtanh)),
    "xnor_pp_place": (spatial, signs(hardtanh)),
    "xnor_pp_separable": (spatial, signs(hardtanh)),
}
