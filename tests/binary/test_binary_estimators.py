import numpy as np
import pytest
import torch

from bnn_tasks.binary import STE, ApproxSign, ClippedSTE, Estimator, sign

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
CLOSED = {
    STE: lambda x: np.ones_like(x),
    ClippedSTE: lambda x: np.where(np.abs(x) <= 1, 1.0, 0.0),
    ApproxSign: lambda x: np.maximum(0, 2 - 2 * np.abs(x)),
}
VALUES = [-3.0, -1.5, -1.0, -0.75, -0.25, -0.0, 0.0, 0.25, 0.75, 1.0, 1.5, 3.0]  # exact in every dtype


@pytest.mark.parametrize("dtype", DTYPES)
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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", CLOSED)
def test_gradient_is_the_closed_form(kind: type[Estimator], dtype: torch.dtype) -> None:
    x = torch.tensor(VALUES, dtype=dtype, requires_grad=True)
    above = torch.linspace(-2, 2, len(VALUES)).to(dtype)
    y = kind()(x)
    y.backward(above)
    assert y.dtype == dtype
    assert torch.equal(y.detach(), sign(x))
    assert x.grad is not None
    assert x.grad.dtype == dtype
    expected = above.double().numpy() * CLOSED[kind](np.array(VALUES))
    np.testing.assert_allclose(x.grad.double().numpy(), expected, rtol=2 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("kind", [ClippedSTE, ApproxSign])
def test_surrogate_integrates_to_the_jump_of_sign(kind: type[Estimator]) -> None:
    x = torch.linspace(-2, 2, 400_001, dtype=torch.float64)
    assert float(torch.trapezoid(kind().surrogate_gradient(x), x)) == pytest.approx(2, abs=1e-4)


@pytest.mark.parametrize("kind", CLOSED)
def test_backward_does_not_touch_what_it_saved(kind: type[Estimator]) -> None:
    x = torch.tensor(VALUES, requires_grad=True)
    y = kind()(x)
    (first,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
    (second,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(first, second)
    assert x.tolist() == VALUES
