import numpy as np
import pytest
import torch

from bnn_tasks.binary import ApproxSign, ClippedSTE, Residual, RPReLU, RSign, SignActivation, horq, set_progress
from bnn_tasks.binary.activations import (
    AffineSign,
    ResidualPlanes,
    ScaledSign,
    ShiftedBases,
    SoftQuantized,
    TanhActivation,
    TwoPhaseSign,
    ZeroOne,
)
from bnn_tasks.binary.geometry import Geometry


def test_sign_activation_has_no_threshold() -> None:
    (plane,) = SignActivation(ClippedSTE()).planes()
    assert plane.operand.threshold is None
    assert plane.scale is None


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (6, 3)])
def test_rsign_at_its_threshold_is_plus_one(shape: tuple[int, ...]) -> None:
    layer = RSign(3, ApproxSign())
    theta = torch.tensor([0.1, -0.7, 1e-30])
    layer.theta.data.copy_(theta)
    at = theta.view(-1, *[1] * (len(shape) - 2)).expand(shape)
    assert (layer(at) == 1).all()
    below = torch.nextafter(at, torch.tensor(-torch.inf))
    assert (layer(below) == -1).all()


def test_rsign_states_the_threshold_that_it_applies() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = RSign(4, ApproxSign())
    layer.theta.data.copy_(torch.randn(4, generator=generator))
    x = torch.randn(3, 4, 5, 5, generator=generator)
    (plane,) = layer.planes()
    assert plane.scale is None
    theta = plane.operand.threshold.numpy()
    expected = np.where(x.numpy() >= theta[:, None, None], 1, -1)
    np.testing.assert_array_equal(layer(x).detach().numpy(), expected)
    theta[:] = 9
    assert not (layer.theta == 9).any(), "the threshold must be a copy"


def test_rsign_gradient_reaches_threshold_and_input() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = RSign(3, ApproxSign()).double()
    layer.theta.data.copy_(torch.randn(3, generator=generator) / 2)
    x = torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    above = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    layer(x).backward(above)
    distance = x.detach().numpy() - layer.theta.detach().numpy()[:, None, None]
    expected = above.numpy() * np.maximum(0, 2 - 2 * np.abs(distance))
    np.testing.assert_allclose(x.grad.numpy(), expected)
    np.testing.assert_allclose(layer.theta.grad.numpy(), -expected.sum((0, 2, 3)))


def test_rprelu_is_its_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = RPReLU(3)
    values = [torch.randn(3, generator=generator) for _ in range(3)]
    for parameter, value in zip((layer.shift_in, layer.prelu.weight, layer.shift_out), values):
        parameter.data.copy_(value)
    x = torch.randn(2, 3, 4, 5, generator=generator)
    shift_in, slope, shift_out = (value.numpy()[:, None, None] for value in values)
    u = x.numpy() - shift_in
    np.testing.assert_allclose(layer(x).detach().numpy(), np.where(u > 0, u, slope * u) + shift_out, rtol=1e-6)


def test_rprelu_starts_as_prelu() -> None:
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(RPReLU(3)(x), torch.nn.PReLU(3)(x))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_activations_keep_the_dtype(dtype: torch.dtype) -> None:
    x = torch.ones(1, 2, 3, 3, dtype=dtype)
    assert RSign(2, ApproxSign())(x).dtype == dtype
    assert SignActivation(ClippedSTE())(x).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "build",
    [
        ZeroOne,
        lambda: ShiftedBases(3),
        lambda: AffineSign(ApproxSign()),
        SoftQuantized,
        TanhActivation,
        TwoPhaseSign,
        lambda: ScaledSign(ApproxSign()),
    ],
)
@pytest.mark.parametrize("progress", [0.0, 1.0])
def test_values_keep_the_dtype_and_are_finite(build: object, dtype: torch.dtype, progress: float) -> None:
    layer = build()
    set_progress(layer, progress)
    x = torch.tensor([0.0, 1e-3, 0.5, 1.0, 50.0, 1e4], dtype=dtype)
    x = torch.cat([-x, x]).view(1, 3, 2, 2).requires_grad_()
    y = layer(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype
    assert torch.isfinite(y).all()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("build", [TanhActivation, TwoPhaseSign])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_at_the_end_the_values_are_signs_exactly(build: type, dtype: torch.dtype) -> None:
    layer = build()
    assert not layer.ready
    set_progress(layer, 1.0)
    assert layer.ready
    x = torch.linspace(-1, 1, 101).to(dtype).requires_grad_()
    assert torch.equal(layer(x).detach(), torch.where(x >= 0, 1.0, -1.0).to(dtype))


def test_zero_one_at_its_threshold_and_borders() -> None:
    x = torch.tensor([-0.1, 0.0, 0.5 - 2**-25, 0.5, 1.0, 1.1], requires_grad=True)
    y = ZeroOne()(x)
    y.sum().backward()
    assert y.tolist() == [0, 0, 0, 1, 1, 1]
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("order", [1, 2, 3, 6])
def test_residuals_shrink_by_n_beta_squared(order: int) -> None:
    """HORQ: ‖R_i‖² = ‖R_{i-1}‖² - n·β_i², so the residual never grows, and shrinks unless it is zero."""
    x = torch.randn(2, 4, 6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    geometry = Geometry((3, 3), (2, 1), (0, 0), (1, 2), 2)
    patches, inside = geometry.patches(x), geometry.inside(x)
    before, taps = patches.square().sum(2), patches.shape[2]
    residual = patches
    for count in range(1, order + 1):
        beta = residual.abs().mean(2)
        residual = patches - ResidualPlanes(count).decompose(patches, inside)
        after = residual.square().sum(2)
        torch.testing.assert_close(after, before - taps * beta**2)
        assert (after < before).all()
        before = after


def test_a_residual_of_zero_stays_zero() -> None:
    constant = torch.full((1, 1, 9, 1, 1), -0.7)
    for order in (1, 2, 3):
        torch.testing.assert_close(ResidualPlanes(order).decompose(constant, torch.ones(())), constant)


def test_planes_of_horq_are_its_residuals_in_order() -> None:
    activation = horq(3).activation(None)
    assert [plane.operand for plane in activation.planes()] == [Residual(0), Residual(1), Residual(2)]
    assert all(plane.scale is None for plane in activation.planes())


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shifted_bases_start_around_zero(count: int) -> None:
    """ABC-Net: thresholds 0.5 - v_n, symmetric around zero, and each plane is 2·[clip(x + v, 0, 1) >= 0.5] - 1."""
    layer = ShiftedBases(count)
    thresholds = [float(plane.operand.threshold) for plane in layer.planes()]
    np.testing.assert_allclose(sorted(thresholds), [-t for t in sorted(thresholds, reverse=True)], atol=1e-6)
    x = torch.linspace(-2, 2, 81, dtype=torch.float64) + 1e-3
    planes = [np.where(np.clip(x.numpy() + float(v), 0, 1) >= 0.5, 1, -1) for v in layer.shift.detach()]
    np.testing.assert_allclose(layer(x).detach().numpy(), sum(planes) / count, atol=1e-6)


def test_the_gradient_of_recu_sees_images_of_unit_spread() -> None:
    """In training a factor on an image leaves the signs and divides the gradient; in evaluation it is the plain tent."""
    layer = ScaledSign(ApproxSign())
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    grads = []
    for factor in (1.0, 10.0):
        z = (factor * x).requires_grad_()
        layer.train()(z).pow(3).mul(x).sum().backward()
        grads.append(z.grad * factor)
    torch.testing.assert_close(grads[0], grads[1])
    z = x.clone().requires_grad_()
    layer.eval()(z).sum().backward()
    torch.testing.assert_close(z.grad, (2 - 2 * x.abs()).clamp_min(0))


def test_recu_takes_constant_images_and_single_pixels() -> None:
    layer = ScaledSign(ApproxSign()).train()
    for shape in ((2, 1), (2, 1, 1, 1), (2, 3, 2, 2)):
        x = torch.full(shape, 0.5, requires_grad=True)
        y = layer(x)
        y.sum().backward()
        assert (y == 1).all()
        assert torch.isfinite(x.grad).all()
