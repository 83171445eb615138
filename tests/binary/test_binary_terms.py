"""`terms()` against plain loops: what a layer says is what it computes."""

import itertools

import numpy as np
import pytest
import torch
from naive import accumulate

from bnn_tasks.binary import STE, BinaryConv2d, BinaryLinear, LearnedScale, Method, RSign, Terms, list_methods

LEARNED = Method("learned", lambda outputs: LearnedScale(outputs, STE()), lambda inputs: RSign(inputs, STE()), "")
METHODS = [*list_methods(), LEARNED]


def shake(layer: torch.nn.Module, seed: int) -> None:
    """Give every parameter a value that shows."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in layer.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator))


def evaluate(terms: Terms, x: np.ndarray) -> np.ndarray:
    """(N, C, H, W) or (N, C) -> the layer's output, straight from the canonical form."""
    total = 0
    for term in terms.terms:
        image = x if x.ndim == 4 else x[:, :, None, None]
        weight = term.weight.numpy().reshape(*term.weight.shape, *[1] * (4 - term.weight.dim()))
        theta = 0 if term.activation.threshold is None else term.activation.threshold.numpy()[:, None, None]
        geometry = (term.stride, term.padding, term.dilation, term.groups, term.pad_value)
        acc = np.stack([accumulate(np.where(one >= theta, 1, -1), weight, *geometry) for one in image])
        scale = 1 if term.scale is None else term.scale.numpy()[:, None, None]
        total = total + acc.astype(np.float32) * scale
    if terms.bias is not None:
        total = total + terms.bias.numpy()[:, None, None]
    return total if x.ndim == 4 else total[:, :, 0, 0]


GEOMETRIES = [
    {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    for kernel, stride, padding, dilation, groups in (
        (3, 1, 1, 1, 1),
        (3, 2, 1, 1, 2),
        (1, 1, 0, 1, 1),
        (1, 2, 1, 1, 4),
        ((3, 1), (1, 2), (2, 0), 1, 1),
        ((2, 5), 1, (1, 2), (2, 1), 2),
        (3, 1, 2, 2, 1),
    )
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize(("pad_value", "bias"), list(itertools.product((0, 1, -1), (False, True))))
def test_terms_of_every_geometry(geometry: dict, pad_value: int, bias: bool) -> None:
    layer = BinaryConv2d(4, 8, **geometry, bias=bias, pad_value=pad_value, method="react").eval()
    shake(layer, 0)
    x = torch.randn(1, 4, 5, 7, generator=torch.Generator().manual_seed(1))
    x[0, :, 2, 3] = layer.activation_binarizer.theta.detach()  # ties
    np.testing.assert_array_equal(layer(x).detach().numpy(), evaluate(layer.terms(), x.numpy()))


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_terms_of_every_method(method: str | Method) -> None:
    layer = BinaryConv2d(3, 4, 3, padding=1, bias=True, method=method).eval()
    shake(layer, 2)
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(3))
    x[0, 0, 0, 0], x[0, 0, 0, 1] = 0.0, -0.0
    np.testing.assert_array_equal(layer(x).detach().numpy(), evaluate(layer.terms(), x.numpy()))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_terms_of_a_linear_layer(method: str | Method, bias: bool) -> None:
    layer = BinaryLinear(70, 5, bias=bias, method=method).eval()
    shake(layer, 4)
    x = torch.randn(3, 70, generator=torch.Generator().manual_seed(5))
    np.testing.assert_array_equal(layer(x).detach().numpy(), evaluate(layer.terms(), x.numpy()))


def test_a_term_inside_the_image_counts_like_the_formula_of_the_kernel() -> None:
    layer = BinaryConv2d(5, 2, 3, padding=1, method="bnn").eval()
    x = torch.randn(1, 5, 6, 6, generator=torch.Generator().manual_seed(0))
    (term,) = layer.terms().terms
    bits, weight = x[0].numpy() >= 0, term.weight.numpy() > 0
    expected = 45 - 2 * np.count_nonzero(bits[:, 1:4, 2:5] ^ weight[1])
    assert int(layer(x)[0, 1, 2, 3]) == expected


def test_terms_are_copies() -> None:
    layer = BinaryConv2d(3, 4, 3, bias=True, method=LEARNED)
    shake(layer, 0)
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    terms = layer.terms()
    for tensor in (terms.terms[0].weight, terms.terms[0].scale, terms.terms[0].activation.threshold, terms.bias):
        assert not tensor.requires_grad
        tensor.fill_(7)
    for name, tensor in layer.state_dict().items():
        assert torch.equal(tensor, before[name]), name
