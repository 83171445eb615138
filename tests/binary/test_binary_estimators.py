import math

import numpy as np
import pytest
import torch
from closed_forms import approx_sign, ede, fourier, sign_swish, training_aware

import bnn_tasks.binary.estimators as estimators
from bnn_tasks.binary import (
    DSQ,
    EDE,
    FDA,
    STE,
    ApproxSign,
    ClippedSTE,
    Estimator,
    SignSwish,
    Tanh,
    TrainingAware,
    set_progress,
    sign,
)

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def swish_slope(x: np.ndarray, p: float) -> np.ndarray:
    """As the paper's code has it, which overflows."""
    return 5 * (2 - 5 * x * np.tanh(5 * x / 2)) / (1 + np.cosh(5 * x))


def ede_slope(x: np.ndarray, p: float) -> np.ndarray:
    t = 0.1 ** (1 - p) * 10**p
    return max(1 / t, 1) * t * (1 - np.tanh(t * x) ** 2)


def aware_slope(x: np.ndarray, p: float) -> np.ndarray:
    t = 0.01 ** (1 - p) * 10**p
    return max(1 / t, 1) * np.maximum(2 * np.sqrt(t**2 / 2) - np.abs(t**2 * x), 0)


def fourier_slope(x: np.ndarray, p: float) -> np.ndarray:
    waves = sum(np.cos((2 * i + 1) * np.pi / 4 * x) for i in range(10))
    return np.where(np.abs(x) <= 2, 4 * (np.pi / 4) / np.pi * waves, 0)


def dsq_slope(x: np.ndarray, p: float) -> np.ndarray:
    alpha = 0.2 ** (1 - p) * 0.02**p
    s, k = 1 / (1 - alpha), np.log(2 / alpha - 1) / 2
    return np.where(np.abs(x) <= 1, s * k * (1 - np.tanh(k * x) ** 2), 0)


CLOSED = {
    STE: lambda x, p: np.ones_like(x),
    ClippedSTE: lambda x, p: np.where(np.abs(x) <= 1, 1.0, 0.0),
    ApproxSign: lambda x, p: np.where(x < -1, 0, np.where(x < 0, 2 + 2 * x, np.where(x < 1, 2 - 2 * x, 0))),
    SignSwish: swish_slope,
    Tanh: lambda x, p: 1 - np.tanh(x) ** 2,
    FDA: fourier_slope,
    EDE: ede_slope,
    TrainingAware: aware_slope,
    DSQ: dsq_slope,
}
EXACT = (STE, ClippedSTE, ApproxSign)  # products and sums of small powers of two: no rounding
VALUES = [-3.0, -1.5, -1.0, -0.75, -0.25, -0.0, 0.0, 0.25, 0.75, 1.0, 1.5, 3.0]  # exact in every dtype

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
every_kind = pytest.mark.parametrize("kind", CLOSED)


def test_every_estimator_has_its_closed_form() -> None:
    kinds = {kind for kind in vars(estimators).values() if isinstance(kind, type) and issubclass(kind, Estimator)}
    assert kinds - {Estimator} == set(CLOSED)


@every_dtype
def test_sign_of_both_zeros_is_plus_one_and_keeps_the_dtype(dtype: torch.dtype) -> None:
    x = torch.tensor([-2.0, -0.0, 0.0, 2.0, torch.finfo(dtype).tiny, -torch.finfo(dtype).tiny], dtype=dtype)
    y = sign(x)
    assert y.dtype == dtype
    assert y.tolist() == [-1, 1, 1, 1, 1, -1]


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (2, 3, 4, 5)])
def test_sign_keeps_any_shape_and_leaves_its_input_alone(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    assert sign(x).shape == x.shape
    assert torch.equal(x, before)


def test_sign_of_a_strided_view_reads_the_view() -> None:
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(sign(x.T[1::2]), torch.from_numpy(np.where(x.numpy().T[1::2] >= 0, 1, -1).astype(np.float32)))


@every_dtype
@every_kind
@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_gradient_is_the_closed_form(kind: type[Estimator], dtype: torch.dtype, progress: float) -> None:
    estimator = kind()
    set_progress(estimator, progress)
    x = torch.tensor(VALUES, dtype=dtype, requires_grad=True)
    above = torch.linspace(-2, 2, len(VALUES)).to(dtype)
    y = estimator(x)
    y.backward(above)
    assert y.dtype == dtype
    assert torch.equal(y.detach(), sign(x))
    assert x.grad is not None
    assert x.grad.dtype == dtype
    slope = CLOSED[kind](np.array(VALUES), progress)
    eps = torch.finfo(dtype).eps
    # Other than EXACT: differences of nearly equal numbers, so relative to the largest; and the progress is a float32.
    rough = 0 if kind in EXACT else 30 * max(eps, 1e-7) * np.abs(slope).max()
    np.testing.assert_allclose(x.grad.double().numpy(), above.double().numpy() * slope, rtol=2 * eps, atol=rough)


@every_dtype
@every_kind
def test_multiplying_in_place_is_multiplying(kind: type[Estimator], dtype: torch.dtype) -> None:
    eps = torch.finfo(dtype).eps
    x = torch.tensor([*VALUES, 1 + eps, 1 - eps / 2, -1 - eps, eps / 2 - 1], dtype=dtype)
    above = torch.linspace(-2, 2, len(x)).to(dtype)
    expected = above * kind().surrogate_gradient(x)
    assert torch.equal(kind().multiply_(above.clone(), x), expected)


@every_dtype
@pytest.mark.parametrize("kind", [*CLOSED, lambda: SignSwish(10.0), lambda: Tanh(100.0), lambda: FDA(100)])
@pytest.mark.parametrize("progress", [0.0, 1.0])
def test_nothing_overflows(kind: type[Estimator], dtype: torch.dtype, progress: float) -> None:
    estimator = kind()
    set_progress(estimator, progress)
    x = torch.tensor([0.0, 1e-4, 1.0, 11.5, 50.0, 89.0, 1e4], dtype=dtype)
    x = torch.cat([-x, x])
    slope = estimator.surrogate_gradient(x)
    assert torch.isfinite(slope).all(), slope
    if not isinstance(estimator, STE) and progress == 1:
        assert float(slope[x.abs() >= 50].abs().max()) < 1e-20, slope


def integral(estimator: Estimator, border: float, points: int = 400_001) -> float:
    x = torch.linspace(-border, border, points, dtype=torch.float64)
    return float(torch.trapezoid(estimator.double().surrogate_gradient(x), x))


@pytest.mark.parametrize(
    ("estimator", "border"),
    [(ClippedSTE(), 2), (ApproxSign(), 2), (SignSwish(), 10), (SignSwish(10.0), 10), (Tanh(), 30), (Tanh(4.0), 30)],
    ids=str,
)
def test_surrogate_integrates_to_the_jump_of_sign(estimator: Estimator, border: float) -> None:
    assert integral(estimator, border) == pytest.approx(2, abs=1e-4)


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_scheduled_surrogates_integrate_to_the_jump_times_k(progress: float) -> None:
    dsq, ede_, aware = DSQ(), EDE(), TrainingAware()
    for estimator in (dsq, ede_, aware):
        set_progress(estimator, progress)
    # DSQ's φ(±1) = ±1 whatever α is.
    assert integral(dsq, 1) == pytest.approx(2, abs=1e-4)
    for estimator in (ede_, aware):
        t, k = (float(value) for value in estimator.sharpness())
        assert k == pytest.approx(max(1 / t, 1), rel=1e-6)
        assert integral(estimator, 40 / t) == pytest.approx(2 * k, rel=1e-4)


@pytest.mark.parametrize("terms", [10, 100, 1000])
def test_fourier_series_approaches_the_jump_with_its_terms(terms: int) -> None:
    # ∫ = (8/π)·(1 - 1/3 + 1/5 - …), whose rest is below its first omitted summand.
    x = torch.linspace(-2, 2, 40_001, dtype=torch.float64)
    area = float(torch.trapezoid(FDA(terms).surrogate_gradient(x), x))
    leibniz = 8 / math.pi * sum((-1) ** i / (2 * i + 1) for i in range(terms))
    assert area == pytest.approx(leibniz, abs=1e-3)
    assert abs(area - 2) < 8 / math.pi / (2 * terms + 1) + 1e-3


@pytest.mark.parametrize(
    ("estimator", "antiderivative"),
    [
        (ApproxSign(), approx_sign),
        (SignSwish(), sign_swish),
        (EDE(), ede),
        (TrainingAware(), training_aware),
        (FDA(), fourier),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_surrogate_is_the_derivative_of_the_published_function(estimator: Estimator, antiderivative: object) -> None:
    x = np.linspace(-1.9, 1.9, 381) + 1e-3
    slope = (antiderivative(x + 1e-6, 0.0) - antiderivative(x - 1e-6, 0.0)) / 2e-6
    found = estimator.double().surrogate_gradient(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, slope, rtol=1e-6, atol=2e-5)


def test_sign_swish_is_not_monotone() -> None:
    x = torch.linspace(0, 3, 300_001, dtype=torch.float64)
    slope = SignSwish(5.0).surrogate_gradient(x)
    surrogate = torch.cumulative_trapezoid(slope, x)  # from SS(0) = 0
    assert float(surrogate.max()) == pytest.approx(1.19968, abs=1e-5)
    assert float(x[1:][surrogate.argmax()]) == pytest.approx(0.480, abs=1e-3)
    crossing = float(x[(slope < 0).nonzero()[0, 0]])
    assert 5 * crossing == pytest.approx(2.3994, abs=1e-4)
    assert float(slope.min()) == pytest.approx(-0.369, abs=5e-4)
    assert float(x[slope.argmin()]) == pytest.approx(0.687, abs=1e-3)


def test_error_decay_has_the_published_sharpness() -> None:
    estimator = EDE(1e-3, 10.0)
    for epoch, t in ((0, 0.001), (100, 0.01), (200, 0.1), (300, 1.0), (399, 9.772)):
        set_progress(estimator, epoch / 400)
        assert float(estimator.sharpness()[0]) == pytest.approx(t, rel=1e-3), epoch
    set_progress(estimator, 0.0)
    near = estimator.surrogate_gradient(torch.linspace(-3, 3, 7))
    torch.testing.assert_close(near, torch.ones(7), rtol=1e-4, atol=0)  # first the identity
    set_progress(estimator, 1.0)
    assert float(estimator.surrogate_gradient(torch.zeros(1))) == pytest.approx(10)


def test_soft_quantisation_has_the_published_constants() -> None:
    # α = 0.2, Δ = 2: k = 1.0986, s = 1.25; tanh(kΔ/2) = 1 - α.
    at_zero = float(DSQ().surrogate_gradient(torch.zeros(1)))
    assert at_zero == pytest.approx(1.25 * math.log(9) / 2, rel=1e-6)
    at_one = float(DSQ().surrogate_gradient(torch.ones(1)))
    assert at_one == pytest.approx(at_zero * (1 - 0.8**2), rel=1e-5)
    hard = DSQ(0.2, 1e-6)
    set_progress(hard, 1.0)
    assert integral(hard, 0.5) == pytest.approx(2, abs=5e-3)  # α -> 0: the step


@every_kind
def test_backward_does_not_touch_what_it_saved(kind: type[Estimator]) -> None:
    x = torch.tensor(VALUES, requires_grad=True)
    y = kind()(x)
    (first,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
    (second,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(first, second)
    assert x.tolist() == VALUES


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SignSwish(0), "Expected `beta` to be a finite number > 0, but got 0"),
        (lambda: SignSwish(math.inf), "Expected `beta`"),
        (lambda: SignSwish(math.nan), "Expected `beta`"),
        (lambda: Tanh(-1), "Expected `k` to be a finite number > 0, but got -1"),
        (lambda: FDA(0), "Expected `terms` to be >= 1, but got 0"),
        (lambda: FDA(3, 0.0), "Expected `omega`"),
        (lambda: EDE(0, 1), "Expected `t_min` and `t_max` to be finite and > 0, but got 0 and 1"),
        (lambda: TrainingAware(1, math.inf), "Expected `t_min` and `t_max`"),
        (lambda: DSQ(0), r"Expected `alpha_start` to be in \(0, 1\), but got 0"),
        (lambda: DSQ(0.5, 1), r"Expected `alpha_end` to be in \(0, 1\), but got 1"),
    ],
)
def test_a_parameter_out_of_range_is_named(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
