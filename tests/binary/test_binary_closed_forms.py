"""Every registered method's weight and activation, forward and backward, against numpy."""

import numpy as np
import pytest
import torch
from closed_forms import FORMS
from finite_differences import Forward, gradients
from torch import nn

from bnn_tasks.binary import get_method, list_methods, set_progress
from bnn_tasks.binary.geometry import LayerShape, LinearGeometry

CONVOLUTION = LayerShape(8, 2, (3, 3))
LINEAR = LayerShape(5, 6, linear=True)
PROGRESS = [0.0, 0.5, 1.0]

every_method = pytest.mark.parametrize("method", list_methods())
every_progress = pytest.mark.parametrize("progress", PROGRESS)


def shaken(binarizer: nn.Module, progress: float, seed: int) -> nn.Module:
    """In float64, with values of its parameters and buffers that show."""
    generator = torch.Generator().manual_seed(seed)
    binarizer = binarizer.double()
    for parameter in binarizer.parameters():
        parameter.data += 0.2 * torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
    for name, buffer in binarizer.named_buffers():
        random = torch.randn(buffer.shape, generator=generator, dtype=torch.float64)
        if name in ("left", "right"):
            buffer.copy_(torch.linalg.qr(random)[0])
        elif name == "curvature":
            buffer.copy_(random.abs())
    set_progress(binarizer, progress)
    return binarizer


def state_of(binarizer: nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy() for name, tensor in binarizer.state_dict().items()}


def compare(binarizer: nn.Module, x: torch.Tensor, y: torch.Tensor, form: object, progress: float) -> None:
    state = state_of(binarizer)
    expected = form(x.detach().numpy(), progress, state, Forward())
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-9, atol=1e-12)
    above = torch.randn(y.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    y.backward(above)
    by_x, by_state = gradients(form, x.detach().numpy(), progress, state, above.numpy())
    np.testing.assert_allclose(x.grad.numpy(), by_x, rtol=2e-5, atol=1e-6)
    for name, parameter in binarizer.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), by_state[name], rtol=2e-5, atol=1e-6, err_msg=name)


def test_every_method_has_its_closed_form() -> None:
    assert sorted(FORMS) == list_methods(), "write the form of a new method in closed_forms.py, from its paper"


@every_method
@every_progress
@pytest.mark.parametrize("shape", [CONVOLUTION, LINEAR], ids=["conv", "linear"])
def test_weight(method: str, progress: float, shape: LayerShape) -> None:
    if method == "cbcn" and shape.linear:
        return  # test_binary_bad_input.py
    binarizer = shaken(get_method(method).weight(shape), progress, 0).eval()
    weight = torch.randn(shape.weight, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weight = (0.7 * binarizer.initial_latent(weight)).requires_grad_()
    compare(binarizer, weight, binarizer(weight), FORMS[method][0], progress)


@every_method
@every_progress
def test_activation(method: str, progress: float) -> None:
    binarizer = shaken(get_method(method).activation(LINEAR), progress, 2).train()
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64).requires_grad_()
    identity = torch.eye(6, dtype=torch.float64)
    compare(binarizer, x, binarizer.product(x, identity, LinearGeometry()), FORMS[method][1], progress)


@every_method
def test_the_bases_sum_to_the_weight(method: str) -> None:
    binarizer = shaken(get_method(method).weight(CONVOLUTION), 1.0, 4).eval()
    weight = torch.randn(CONVOLUTION.weight, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    weight = binarizer.initial_latent(weight)
    total = 0
    for basis in binarizer.bases(weight):
        assert set(basis.signs.unique().tolist()) <= {-1, 1}
        scale = 1 if basis.scale is None else basis.scale.detach().view(-1, 1, 1, 1)
        total = total + basis.signs * scale
    torch.testing.assert_close(total.double(), binarizer(weight).detach(), rtol=1e-6, atol=1e-6)


@every_method
def test_both_zeros_have_one_sign(method: str) -> None:
    binarizer = get_method(method).activation(LINEAR).eval()
    set_progress(binarizer, 1.0)
    x = torch.tensor([[0.0, -0.0, 0.5, -0.5, 1.0, -1.0]])
    y = binarizer.product(x, torch.eye(6), LinearGeometry()).detach()
    assert torch.equal(y[:, 0], y[:, 1])
