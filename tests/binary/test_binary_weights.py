"""Weights: what the papers claim of their scales, bits and rotations. Forward and backward: test_binary_closed_forms.py."""

import math

import numpy as np
import pytest
import torch
from latent_weights import as_rows, gradients, latent, sgn, signs_and_scale

from bnn_tasks.binary import (
    AnalyticScale,
    ApproxSign,
    ClippedSTE,
    LearnedScale,
    MagnitudeAware,
    SignWeight,
    get_method,
    set_progress,
)
from bnn_tasks.binary.geometry import LayerShape
from bnn_tasks.binary.weights import (
    BitwiseWeight,
    LayerScale,
    LeastSquaresBases,
    LibraPB,
    LossAware,
    RectifiedClamp,
    StochasticSign,
    TanhWeight,
)

SHAPES = [(4, 3, 3, 3), (5, 7)]
every_shape = pytest.mark.parametrize("shape", SHAPES)


@every_shape
def test_sign_weight_has_no_scale(shape: tuple[int, ...]) -> None:
    weight = latent(shape)
    signs, scale = signs_and_scale(SignWeight(ClippedSTE()), weight)
    assert scale is None
    np.testing.assert_array_equal(signs, sgn(as_rows(weight)))


@pytest.mark.parametrize("kind", [AnalyticScale, MagnitudeAware])
@every_shape
def test_scale_is_the_best_of_a_grid_and_leaves_the_known_residual(kind: type, shape: tuple[int, ...]) -> None:
    weight = latent(shape)
    signs, alpha = signs_and_scale(kind(ClippedSTE()), weight)
    rows = as_rows(weight)
    grid = np.linspace(0, 3, 3001)
    residuals = ((rows[:, None] - grid[None, :, None] * signs[:, None]) ** 2).sum(-1)
    np.testing.assert_allclose(grid[residuals.argmin(1)], alpha, atol=0.5e-3 + 1e-9)
    residual = ((rows - alpha[:, None] * signs) ** 2).sum(1)
    np.testing.assert_allclose(residual, (rows**2).sum(1) - rows.shape[1] * alpha**2)


@every_shape
def test_analytic_scale_gradient_is_the_exact_chain_rule(shape: tuple[int, ...]) -> None:
    weight = latent(shape)
    found, above = gradients(AnalyticScale(ClippedSTE()), weight)
    rows = as_rows(weight)
    signs, alpha = sgn(rows), np.abs(rows).mean(1, keepdims=True)
    through_sign = alpha * (np.abs(rows) <= 1) * above
    through_scale = signs / rows.shape[1] * (above * signs).sum(1, keepdims=True)
    np.testing.assert_allclose(found, through_sign + through_scale)


@pytest.mark.parametrize("factor", [1.0, 0.01])
@every_shape
def test_magnitude_aware_gradient_does_not_carry_the_scale(shape: tuple[int, ...], factor: float) -> None:
    weight = (latent(shape) * factor).detach().requires_grad_()
    found, above = gradients(MagnitudeAware(ApproxSign()), weight)
    np.testing.assert_allclose(found, np.maximum(0, 2 - 2 * np.abs(as_rows(weight))) * above)


def test_magnitude_aware_survives_an_all_zero_filter() -> None:
    weight = latent((3, 2, 3, 3)).detach()
    weight[1] = 0
    weight.requires_grad_()
    found, above = gradients(MagnitudeAware(ClippedSTE()), weight)
    assert np.isfinite(found).all()
    with torch.no_grad():
        assert not MagnitudeAware(ClippedSTE())(weight)[1].any()
    # The gradient does not carry the scale, so that a filter of zeros can come back.
    np.testing.assert_allclose(found, (np.abs(as_rows(weight)) <= 1) * above)


def test_learned_scale_starts_at_one_and_learns() -> None:
    binarizer = LearnedScale(4, ClippedSTE()).double()
    weight = latent((4, 3, 3, 3))
    _, scale = signs_and_scale(binarizer, weight)
    assert scale.tolist() == [1] * 4
    _, above = gradients(binarizer, weight)
    np.testing.assert_allclose(binarizer.scale.grad.numpy(), (above * sgn(as_rows(weight))).sum(1))


@pytest.mark.parametrize("name", ["binary_connect", "bnn", "lab", "binary_connect_stochastic"])
def test_after_a_step_the_latent_weight_lies_in_its_window(name: str) -> None:
    binarizer = get_method(name).weight(LayerShape(5, 7, linear=True))
    weight = 3 * latent((5, 7)).detach()
    clipped = weight.clamp(-1, 1)
    binarizer.after_step(weight, {"exp_avg_sq": torch.ones(5, 7)})
    assert torch.equal(weight, clipped)


def test_the_stochastic_sign_is_right_on_average() -> None:
    """BinaryConnect: E[w_b] = clip(w, -1, 1); every draw is ±1 exactly; the gradient is 1; evaluation is deterministic."""
    binarizer = StochasticSign()
    weight = torch.tensor([[-2.0, -1.0, -0.7, -0.1, 0.0, 0.4, 0.9, 1.0, 300.0]]).T.expand(9, 40_000).contiguous()
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16):
        w = weight.to(dtype).requires_grad_()
        drawn = binarizer.train()(w)
        assert drawn.dtype == dtype
        assert set(drawn.unique().tolist()) == {-1, 1}
        # 5 standard deviations of a mean of 40 000 draws.
        np.testing.assert_allclose(drawn.float().mean(1).detach(), w[:, 0].float().detach().clamp(-1, 1), atol=0.025)
        (grad,) = torch.autograd.grad(drawn.sum(), w)
        assert (grad == 1).all()
    assert torch.equal(binarizer.eval()(weight), torch.where(weight >= 0, 1.0, -1.0))


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.99])
@every_shape
def test_bitwise_has_as_many_zeros_as_said(sparsity: float, shape: tuple[int, ...]) -> None:
    binarizer, weight = BitwiseWeight(sparsity), latent(shape)
    set_progress(binarizer, 1.0)
    ternary = binarizer(weight)
    zeros = round(sparsity * weight.numel())
    assert int((ternary == 0).sum()) == zeros
    assert set(ternary.unique().tolist()) <= {-1, 0, 1}
    magnitudes = weight.detach().abs()
    if zeros:
        assert magnitudes[ternary == 0].max() <= min(magnitudes[ternary != 0].tolist(), default=np.inf)
    np.testing.assert_array_equal(as_rows(ternary)[as_rows(ternary) != 0], sgn(as_rows(weight))[as_rows(ternary) != 0])
    bases = binarizer.bases(weight.detach())
    assert len(bases) == (2 if sparsity else 1)
    total = sum(basis.signs * (1 if basis.scale is None else float(basis.scale[0])) for basis in bases)
    assert torch.equal(total.float(), ternary.detach().float())
    found, above = gradients(binarizer, weight)
    np.testing.assert_array_equal(found, above)  # "noisy backpropagation": no factor at all


def test_bitwise_equal_magnitudes_still_give_the_right_count() -> None:
    binarizer = BitwiseWeight(0.5)
    set_progress(binarizer, 1.0)
    assert int((binarizer(torch.ones(2, 10)) == 0).sum()) == 10


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_self_binarizing_ends_at_signs_exactly(dtype: torch.dtype) -> None:
    binarizer, weight = TanhWeight(), latent((5, 7)).detach().to(dtype).requires_grad_()
    set_progress(binarizer, 0.999)
    assert not binarizer.ready
    set_progress(binarizer, 1.0)
    assert torch.equal(binarizer(weight).detach(), torch.where(weight >= 0, 1.0, -1.0).to(dtype))


@every_shape
def test_lab_scale_minimises_the_weighted_error(shape: tuple[int, ...]) -> None:
    weight = latent(shape)
    binarizer = LossAware(shape).double()
    _, scale = signs_and_scale(binarizer, weight)  # before the first step D is constant
    np.testing.assert_allclose(scale, np.abs(as_rows(weight)).mean())
    _, layer = signs_and_scale(LayerScale(), weight)
    np.testing.assert_allclose(scale, layer)
    second = torch.rand(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with torch.no_grad():
        binarizer.after_step(weight, {"exp_avg_sq": second})
    np.testing.assert_allclose(as_rows(binarizer.curvature), np.sqrt(as_rows(second)) + 1e-8)
    signs, scale = signs_and_scale(binarizer, weight)
    rows, d = as_rows(weight), as_rows(binarizer.curvature)
    grid = np.linspace(0, 2, 4001)
    errors = [(d * (rows - alpha * signs) ** 2).sum() / 2 for alpha in grid]
    assert grid[np.argmin(errors)] == pytest.approx(scale[0], abs=2.6e-4)
    assert (scale == scale[0]).all()


def test_lab_needs_adams_second_moment() -> None:
    with pytest.raises(ValueError, match=r"second moment.*'lab'.*has \['momentum_buffer'\]. Cure: torch.optim.Adam"):
        LossAware((2, 2)).after_step(torch.ones(2, 2), {"momentum_buffer": torch.ones(2, 2)})


@pytest.mark.parametrize("name", ["bbg", "ir_net"])
def test_bits_are_balanced(name: str) -> None:
    """Centred filters: about as many +1 as -1, so an entropy of about 1 bit, however shifted the latent weight is."""
    shape = LayerShape(16, 32, (3, 3))
    weight = latent(shape.weight).detach() * 0.05 + 0.04
    signs, _ = signs_and_scale(get_method(name).weight(shape), weight)
    share = (signs > 0).mean(1)
    entropy = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    assert np.abs(share - 0.5).max() < 0.1
    assert entropy.min() > 0.97
    plain = (sgn(as_rows(weight)) > 0).mean(1)
    assert plain.min() > 0.7, "without centring the bits of this weight would not be balanced"


def test_libra_scale_is_a_power_of_two_and_one_for_gaussians() -> None:
    weight = latent((8, 64, 3, 3)) * 0.02 + 0.01
    signs, scale = signs_and_scale(LibraPB(get_method("ir_net").weight(LayerShape(1, 1)).estimator), weight)
    np.testing.assert_array_equal(scale, 1.0)  # mean abs(ŵ) = 0.798
    standard = (as_rows(weight) - as_rows(weight).mean(1, keepdims=True)) / as_rows(weight).std(
        1, ddof=1, keepdims=True
    )
    np.testing.assert_array_equal(signs, sgn(standard))
    sparse = torch.zeros(2, 400)
    sparse[:, :2] = torch.tensor([1.0, -1.0])
    _, scale = signs_and_scale(LibraPB(get_method("ir_net").weight(LayerShape(1, 1)).estimator), sparse)
    exponent = np.log2(scale)
    np.testing.assert_array_equal(exponent, np.round(exponent))
    assert (exponent == round(math.log2(2 * math.sqrt(399 / 2) / 400))).all()


def test_recu_quantile_is_laplaces_and_tau_follows_its_schedule() -> None:
    binarizer = RectifiedClamp(4)
    uniform = (np.arange(200_000) + 0.5) / 200_000 - 0.5
    laplace = -np.sign(uniform) * np.log(1 - 2 * np.abs(uniform))  # scale 1
    weight = torch.from_numpy(np.random.default_rng(0).permutation(laplace)).view(4, -1)
    taus = []
    for progress in (0.0, 0.25, 0.5, 0.75, 1.0):
        set_progress(binarizer, progress)
        tau = float(binarizer.tau())
        taus.append(tau)
        rectified = binarizer.rectified(weight)
        bound = rectified.abs().max()
        share = float((rectified.abs() < bound).double().mean())
        assert share == pytest.approx(2 * tau - 1, abs=5e-3)  # P(abs(w) <= Q_τ)
    assert taus[0] == pytest.approx(0.85)
    assert taus[-1] == pytest.approx(0.99)
    assert taus == sorted(taus)
    assert taus[2] - taus[0] < taus[4] - taus[2], "exponential: slow first"


@pytest.mark.parametrize("tau", [0.5, 1.0, 0.3])
def test_recu_refuses_a_tau_without_a_clamp(tau: float) -> None:
    with pytest.raises(ValueError, match=r"Expected `tau_start` to be in \(0.5, 1\)"):
        RectifiedClamp(4, tau_start=tau)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LeastSquaresBases(0), "Expected `count` to be >= 1, but got 0"),
        (lambda: BitwiseWeight(1.0), "Expected `sparsity` in"),
        (lambda: BitwiseWeight(0.1, switch=0), "`switch` in"),
        (lambda: TanhWeight(0.0), "Expected `nu_start` and `nu_end` to be finite and > 0, but got 0.0"),
        (lambda: RectifiedClamp(4, tau_end=1.0), "Expected `tau_end`"),
    ],
)
def test_a_parameter_out_of_range_is_named(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
