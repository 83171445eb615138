"""Weights of several bases, turned and rotated filters: what the papers claim of them."""

import itertools
import math

import numpy as np
import pytest
import torch
from latent_weights import as_rows, gradients, latent, sgn

from bnn_tasks.binary import STE, ClippedSTE, TrainingAware, set_progress
from bnn_tasks.binary.geometry import LayerShape
from bnn_tasks.binary.weights import AffineWeight, CirculantFilters, LeastSquaresBases, RotatedSign
from bnn_tasks.binary.weights.rotated import factors

every_shape = pytest.mark.parametrize("shape", [(4, 3, 3, 3), (5, 7)])


@every_shape
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_abc_net_is_numpys_least_squares(shape: tuple[int, ...], count: int) -> None:
    weight = latent(shape)
    with torch.no_grad():
        found = LeastSquaresBases(count).bases(weight)
    for o, row in enumerate(as_rows(weight)):
        shifts = [-1 + m * 2 / (count - 1) for m in range(count)] if count > 1 else [0.0]
        bases = np.stack([sgn(row - row.mean() + u * row.std(ddof=1)) for u in shifts], 1)
        np.testing.assert_array_equal(np.stack([as_rows(basis.signs)[o] for basis in found], 1), bases)
        alpha = np.linalg.lstsq(bases, row, rcond=None)[0]
        np.testing.assert_allclose([float(basis.scale[o]) for basis in found], alpha, rtol=1e-5, atol=1e-7)


def test_abc_net_residual_falls_with_nested_bases() -> None:
    weight = latent((4, 3, 3, 3))
    errors = []
    for count in (1, 3, 5, 9):  # the shifts of each are among those of the next
        with torch.no_grad():
            errors.append(((LeastSquaresBases(count)(weight) - weight) ** 2).flatten(1).sum(1))
    assert all((after <= before + 1e-9).all() for before, after in itertools.pairwise(errors))
    assert all((after < before).all() for before, after in itertools.pairwise(errors[:3]))


@pytest.mark.parametrize("rows", [[[0.5, -0.5]], [[1.0, 1.0, 1.0, -3.0]], [[2.0]], [[0.3, 0.3, 0.3]]])
def test_abc_net_survives_equal_bases(rows: list[list[float]]) -> None:
    """BᵀB is singular: the smallest of the equally good α, as numpy gives it."""
    weight = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
    binarizer = LeastSquaresBases(5)
    y = binarizer(weight)
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(weight.grad).all()
    bases, alpha = binarizer.solve(weight)
    expected = np.linalg.lstsq(bases[0].numpy(), np.array(rows[0]), rcond=None)[0]
    np.testing.assert_allclose(alpha[0], expected, atol=1e-7)


def rotated_objective(binarizer: RotatedSign, weight: torch.Tensor) -> float:
    filters = weight.detach().reshape(len(weight), *binarizer.sides).numpy()
    turned = binarizer.left.numpy().T @ filters @ binarizer.right.numpy()
    return float((sgn(turned) * turned).sum())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rotations_are_orthogonal_and_better_each_time(dtype: torch.dtype) -> None:
    weight = latent((6, 4, 3, 3)).detach().to(dtype)
    binarizer = RotatedSign(6, 36, TrainingAware()).to(dtype).train()
    assert binarizer.sides == (6, 6)
    exact = RotatedSign(6, 36, TrainingAware())
    objectives = [rotated_objective(exact, weight.float())]
    for _ in range(4):
        exact.refresh(weight.float())
        objectives.append(rotated_objective(exact, weight.float()))
        for rotation in (exact.left, exact.right):
            torch.testing.assert_close(rotation.T @ rotation, torch.eye(6), atol=1e-5, rtol=0)
    assert all(after >= before - 1e-3 for before, after in itertools.pairwise(objectives)), objectives
    assert objectives[1] > objectives[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(binarizer(weight)).all()
    assert binarizer.left.dtype == dtype


def test_rotations_are_renewed_with_the_progress_and_only_in_training() -> None:
    weight = latent((6, 4, 3, 3)).detach().float()
    binarizer = RotatedSign(6, 36, TrainingAware()).eval()
    binarizer(weight)
    assert torch.equal(binarizer.left, torch.eye(6))
    binarizer.train()(weight)
    first = binarizer.left.clone()
    assert not torch.equal(first, torch.eye(6))
    binarizer(2 * weight + 1)
    assert torch.equal(binarizer.left, first), "not within a hundredth of the run"
    set_progress(binarizer, 0.5)
    binarizer(2 * weight + 1)
    second = binarizer.left.clone()
    assert not torch.equal(second, first)
    set_progress(binarizer, 0.0)  # a second training, from the first one's weights
    binarizer(weight)
    assert not torch.equal(binarizer.left, second)


@pytest.mark.parametrize(("n", "sides"), [(36, (6, 6)), (27, (3, 9)), (7, (1, 7)), (1, (1, 1)), (576, (24, 24))])
def test_the_sides_of_a_filter(n: int, sides: tuple[int, int]) -> None:
    assert factors(n) == sides


def test_rotation_angle_gets_its_gradient() -> None:
    """An angle a filter, spread over (0, π/2), where abs(sin θ) is increasing."""
    binarizer = RotatedSign(5, 36, TrainingAware()).double().train()
    weight = latent((5, 4, 3, 3))
    binarizer.refresh(weight)
    set_progress(binarizer, 0.005)
    gradients(binarizer, weight)
    assert (binarizer.theta.grad.abs() > 1e-3).all()
    theta = RotatedSign(1000, 36, TrainingAware()).theta.detach()
    assert (theta >= 0).all()
    assert (theta < math.pi / 2).all()
    assert float(theta.mean()) == pytest.approx(math.pi / 4, abs=0.06)


@every_shape
def test_adabin_product_of_two_values_each(shape: tuple[int, ...]) -> None:
    """(α_w·b_w + β_w)·(α_a·b_a + β_a) = α_wα_a·b_w·b_a + α_wβ_a·Σb_w + β_wα_a·Σb_a + n·β_wβ_a."""
    weight = latent(shape)
    with torch.no_grad():
        signs, ones = AffineWeight(ClippedSTE()).bases(weight)
        effective = as_rows(AffineWeight(ClippedSTE())(weight))
    b_w, alpha_w, beta_w = as_rows(signs.signs), signs.scale.numpy(), ones.scale.numpy()
    n = b_w.shape[1]
    assert (as_rows(ones.signs) == 1).all()
    np.testing.assert_allclose(beta_w, as_rows(weight).mean(1))
    np.testing.assert_allclose(alpha_w, np.linalg.norm(as_rows(weight) - beta_w[:, None], axis=1) / math.sqrt(n))
    b_a, alpha_a, beta_a = sgn(np.random.default_rng(0).standard_normal(n)), 1.3, -0.4
    four = alpha_w * alpha_a * (b_w @ b_a) + alpha_w * beta_a * b_w.sum(1) + beta_w * alpha_a * b_a.sum()
    np.testing.assert_allclose(effective @ (alpha_a * b_a + beta_a), four + n * beta_w * beta_a)


def test_adabin_keeps_the_mean_and_the_energy_of_balanced_weights() -> None:
    rows = np.random.default_rng(0).standard_normal((3, 50))
    weight = torch.from_numpy(np.concatenate([rows, -rows], 1) + 0.3)
    effective = as_rows(AffineWeight(ClippedSTE())(weight))
    np.testing.assert_allclose(effective.mean(1), weight.mean(1))
    np.testing.assert_allclose((effective**2).sum(1), (weight**2).sum(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("values", [[[0.3]], [[0.1, 0.1, 0.1]], [[0.0, 0.0]]])
def test_adabin_without_a_spread_has_finite_gradients(values: list[list[float]], dtype: torch.dtype) -> None:
    weight = torch.tensor(values, dtype=dtype, requires_grad=True)
    y = AffineWeight(ClippedSTE())(weight)
    y.sum().backward()
    torch.testing.assert_close(y.detach(), weight.detach())
    assert torch.isfinite(weight.grad).all()


def test_circulant_filters_turn_their_rim() -> None:
    shape = LayerShape(8, 3, (3, 3))
    binarizer = CirculantFilters(shape, STE())
    filters = torch.arange(2 * 3 * 9, dtype=torch.float64).view(2, 3, 3, 3)
    turned = binarizer.expand(filters).view(2, 4, 3, 3, 3).numpy()
    for quarter in range(4):
        np.testing.assert_array_equal(turned[:, quarter], np.rot90(filters.numpy(), -quarter, axes=(2, 3)))
        assert (turned[:, quarter, :, 1, 1] == filters.numpy()[:, :, 1, 1]).all(), "the centre stays"
        np.testing.assert_array_equal(np.sort(turned[:, quarter].reshape(2, 3, 9)), np.sort(filters.view(2, 3, 9)))
    # Four turns are the identity.
    once = binarizer.source[1]
    places = torch.arange(9)
    for _ in range(4):
        places = places[once]
    assert places.tolist() == list(range(9))


def test_circulant_gradient_is_the_mean_of_the_turned_back() -> None:
    binarizer = CirculantFilters(LayerShape(8, 3, (3, 3)), STE())
    weight = latent((2, 3, 3, 3))
    above = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (binarizer.expand(weight) * above).sum().backward()
    back = [np.rot90(above.view(2, 4, 3, 3, 3)[:, r].numpy(), r, axes=(2, 3)) for r in range(4)]
    np.testing.assert_allclose(weight.grad.numpy(), np.mean(back, 0))
