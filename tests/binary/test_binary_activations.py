import numpy as np
import pytest
import torch

from bnn_tasks.binary import ApproxSign, ClippedSTE, RPReLU, RSign, SignActivation


def test_sign_activation_has_no_threshold() -> None:
    assert SignActivation(ClippedSTE()).threshold().threshold is None


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
    theta = layer.threshold().threshold.numpy()
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
