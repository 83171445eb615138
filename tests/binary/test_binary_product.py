"""The fused step beside the same written as two, on maps of several chunks."""

import pytest
import torch
from torch import Tensor

from bnn_tasks.binary import DSQ, EDE, FDA, STE, ApproxSign, ClippedSTE, Estimator, Geometry, SignSwish, sign
from bnn_tasks.binary.product import CHUNK, signed_product

SPECIAL = (0.0, -0.0, 1.0, -1.0, 1.0078125, -1.0078125, 0.99609375, 2.0, -3e4, 1e-30, -1e-30)


def operands(dtype: torch.dtype, images: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(images, 4, 40, 40, generator=generator)
    x.view(-1)[: len(SPECIAL)] = torch.tensor(SPECIAL)
    weight = torch.randn(6, 2, 3, 3, generator=generator)
    above = torch.randn(images, 6, 20, 20, generator=generator)
    return x.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_(), above.to(dtype)


GEOMETRY = Geometry((3, 3), stride=(2, 2), padding=(1, 1), groups=2)


@pytest.mark.parametrize("kind", [STE, ClippedSTE, ApproxSign, SignSwish, FDA, EDE, DSQ])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("chunk", [CHUNK, 2 * 4 * 40 * 40, 1])
def test_one_step_is_two(
    kind: type[Estimator], dtype: torch.dtype, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bnn_tasks.binary.product.CHUNK", chunk)
    x, weight, above = operands(dtype)
    estimator = kind()
    y = signed_product(x, weight, estimator, GEOMETRY)
    expected = GEOMETRY.product(estimator(x), weight)
    assert torch.equal(y, expected)
    found = torch.autograd.grad(y, (x, weight), above)
    wanted = torch.autograd.grad(expected, (x, weight), above)
    tolerance = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(found[0], wanted[0], rtol=tolerance, atol=tolerance)
    assert torch.equal(found[1], wanted[1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
def test_every_special_value_has_its_sign_and_its_window(dtype: torch.dtype) -> None:
    x = torch.tensor(SPECIAL).to(dtype)
    assert sign(x).tolist() == [1 if value >= 0 else -1 for value in x.tolist()]
    grad = torch.ones_like(x)
    result = ClippedSTE().multiply_(grad, x)
    assert result.data_ptr() == grad.data_ptr()
    assert result.tolist() == [float(abs(value) <= 1) for value in x.tolist()]
    grad = torch.ones_like(x)
    assert ApproxSign().multiply_(grad, x).data_ptr() == grad.data_ptr()
    assert grad.double().tolist() == pytest.approx([max(0, 2 - 2 * abs(value)) for value in x.tolist()], abs=1e-2)


def test_all_bfloat16_numbers_have_their_sign() -> None:
    x = torch.arange(-(2**15), 2**15).to(torch.int16).view(torch.bfloat16)
    x = x[~x.isnan()]
    assert torch.equal(sign(x), torch.where(x.double() >= 0, 1.0, -1.0).to(torch.bfloat16))


def test_only_the_input_is_kept_for_backward() -> None:
    x, weight, _ = operands(torch.float32)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        signed_product(x, weight, ApproxSign(), GEOMETRY)
    assert {tensor.data_ptr() for tensor in kept} == {x.data_ptr(), weight.data_ptr()}
