import numpy as np
import pytest
import torch

from bnn_tasks.binary import AnalyticScale, ApproxSign, ClippedSTE, LearnedScale, MagnitudeAware, SignWeight

SHAPES = [(4, 3, 3, 3), (5, 7)]


def latent(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def as_rows(weight: torch.Tensor) -> np.ndarray:
    return weight.detach().flatten(1).numpy()


def gradients(binarizer: torch.nn.Module, weight: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """dL/dW and G = dL/d(αB), rows, for L = Σ G·αB."""
    generator = torch.Generator().manual_seed(1)
    above = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    binary, scale = binarizer(weight)
    shape = (-1, *[1] * (weight.dim() - 1))
    (above * binary * scale.view(shape)).sum().backward()
    return as_rows(weight.grad), as_rows(above)


@pytest.mark.parametrize("shape", SHAPES)
def test_sign_weight_has_no_scale(shape: tuple[int, ...]) -> None:
    weight = latent(shape)
    binary, scale = SignWeight(ClippedSTE())(weight)
    assert scale is None
    np.testing.assert_array_equal(as_rows(binary), np.where(as_rows(weight) >= 0, 1, -1))


@pytest.mark.parametrize("kind", [AnalyticScale, MagnitudeAware])
@pytest.mark.parametrize("shape", SHAPES)
def test_scale_is_the_best_of_a_grid_and_leaves_the_known_residual(kind: type, shape: tuple[int, ...]) -> None:
    weight = latent(shape)
    binary, scale = kind(ClippedSTE())(weight)
    rows, signs, alpha = as_rows(weight), as_rows(binary), scale.detach().numpy()
    grid = np.linspace(0, 3, 3001)
    residuals = ((rows[:, None] - grid[None, :, None] * signs[:, None]) ** 2).sum(-1)
    np.testing.assert_allclose(grid[residuals.argmin(1)], alpha, atol=0.5e-3 + 1e-9)
    residual = ((rows - alpha[:, None] * signs) ** 2).sum(1)
    np.testing.assert_allclose(residual, (rows**2).sum(1) - rows.shape[1] * alpha**2)


@pytest.mark.parametrize("shape", SHAPES)
def test_analytic_scale_gradient_is_the_exact_chain_rule(shape: tuple[int, ...]) -> None:
    weight = latent(shape)
    found, above = gradients(AnalyticScale(ClippedSTE()), weight)
    rows = as_rows(weight)
    signs, alpha = np.where(rows >= 0, 1, -1), np.abs(rows).mean(1, keepdims=True)
    through_sign = alpha * (np.abs(rows) <= 1) * above
    through_scale = signs / rows.shape[1] * (above * signs).sum(1, keepdims=True)
    np.testing.assert_allclose(found, through_sign + through_scale)


@pytest.mark.parametrize("factor", [1.0, 0.01])
@pytest.mark.parametrize("shape", SHAPES)
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
    assert not found[1].any()
    np.testing.assert_allclose(found[0], (np.abs(as_rows(weight)[0]) <= 1) * above[0])


def test_learned_scale_starts_at_one_and_learns() -> None:
    binarizer = LearnedScale(4, ClippedSTE()).double()
    weight = latent((4, 3, 3, 3))
    _, scale = binarizer(weight)
    assert scale.tolist() == [1] * 4
    _, above = gradients(binarizer, weight)
    signs = np.where(as_rows(weight) >= 0, 1, -1)
    np.testing.assert_allclose(binarizer.scale.grad.numpy(), (above * signs).sum(1))
