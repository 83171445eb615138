"""`terms()` against plain loops: what a layer says is what it computes."""

import itertools

import numpy as np
import pytest
import torch
from naive import accumulate, evaluate_terms

from bnn_tasks.binary import (
    STE,
    BinaryConv2d,
    BinaryLinear,
    LearnedScale,
    Method,
    Ones,
    Real,
    Residual,
    RSign,
    Terms,
    Threshold,
    abc_net,
    bitwise,
    evaluate,
    get_method,
    horq,
    list_methods,
    set_progress,
    tie_to_size,
)
from bnn_tasks.binary.terms import residual_planes

LEARNED = Method(
    "learned",
    lambda shape: LearnedScale(shape.out_channels, STE()),
    lambda shape: RSign(shape.in_channels, STE()),
    "",
)
OTHERS = [LEARNED, abc_net(1, 2), horq(1), horq(3), bitwise(0.3)]
METHODS = [*list_methods(), *OTHERS]
NAMES = [*list_methods(), "learned", "abc_net_1_2", "horq_1", "horq_3", "bitwise_sparse"]
every_method = pytest.mark.parametrize("method", METHODS, ids=NAMES)


def shake(layer: torch.nn.Module, seed: int) -> torch.nn.Module:
    """At the end of training, with values of every parameter that show."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in layer.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    for name, buffer in layer.named_buffers():
        if name.endswith(("left", "right")):
            buffer.copy_(torch.linalg.qr(torch.randn(buffer.shape, generator=generator))[0])
        elif name.endswith("curvature"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator))
    set_progress(layer, 1.0)
    return layer.eval()


def build(method: str | Method, x: torch.Tensor, *sizes: object, **arguments: object) -> BinaryConv2d:
    layer = BinaryConv2d(x.shape[1], *sizes, **arguments, method=method)
    if get_method(method).spatially_tied:
        tie_to_size(layer, x[:1])
    return shake(layer, 2)


def image(*shape: int, seed: int = 3) -> torch.Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    x[0, 0, 0, 0], x[0, 0, 0, 1], x[0, 0, 1, 0] = 0.0, -0.0, 0.5  # ties
    return x


def check(layer: torch.nn.Module, x: torch.Tensor) -> Terms:
    """Canonical form, evaluation and training's forward compute one thing."""
    terms = layer.terms()
    expected = evaluate_terms(terms, x.numpy())
    tolerance = 1e-5 * max(float(expected.std()), 1e-3)
    with torch.no_grad():
        evaluated = layer(x)
    np.testing.assert_allclose(evaluated, expected, rtol=1e-5, atol=tolerance)
    np.testing.assert_allclose(evaluate(terms, x), evaluated, rtol=0, atol=0)
    trained = layer(x)
    assert trained.requires_grad
    np.testing.assert_allclose(trained.detach(), expected, rtol=1e-5, atol=tolerance)
    return terms


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


def sum_exactly(terms: Terms, x: np.ndarray) -> np.ndarray:
    """The layer's output with integer sums and float32 scales, for ±1 operands."""
    total = 0
    for term in terms.terms:
        geometry = (term.stride, term.padding, term.dilation, term.groups, term.pad_value)
        theta = 0 if term.activation.threshold is None else term.activation.threshold.numpy()[:, None, None]
        acc = np.stack([accumulate(np.where(one >= theta, 1, -1), term.weight.numpy(), *geometry) for one in x])
        total = total + acc.astype(np.float32) * (1 if term.scale is None else term.scale.numpy()[:, None, None])
    return total if terms.bias is None else total + terms.bias.numpy()[:, None, None]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize(("pad_value", "bias"), list(itertools.product((0, 1, -1), (False, True))))
def test_terms_of_every_geometry(geometry: dict, pad_value: int, bias: bool) -> None:
    x = torch.randn(1, 4, 5, 7, generator=torch.Generator().manual_seed(1))
    layer = build("react", x, 8, **geometry, bias=bias, pad_value=pad_value)
    x[0, :, 2, 3] = layer.activation_binarizer.theta.detach()  # ties
    with torch.no_grad():
        np.testing.assert_array_equal(layer(x).numpy(), sum_exactly(layer.terms(), x.numpy()))


@every_method
@pytest.mark.parametrize("pad_value", [0, 1, -1])
def test_terms_of_every_method(method: str | Method, pad_value: int) -> None:
    x = image(2, 3, 4, 5)
    terms = check(build(method, x, 4, 3, padding=1, bias=True, pad_value=pad_value), x)
    for term in terms.terms:
        assert term.weight.dtype == torch.int8
        assert set(term.weight.unique().tolist()) <= {-1, 1}
        assert term.scale is None or term.scale.dtype == torch.float32


# One method for each kind of operand and of scale.
KINDS = ["bwn", "xnor_k", "horq", "dorefa", "adabin", "abc_net", "xnor_pp_separable", "xnor_pp_full"]


@pytest.mark.parametrize("method", KINDS)
@pytest.mark.parametrize("pad_value", [0, -1])
@pytest.mark.parametrize("geometry", GEOMETRIES[1:], ids=str)
def test_terms_of_every_operand_and_geometry(method: str, pad_value: int, geometry: dict) -> None:
    x = image(1, 4, 5, 6)
    check(build(method, x, 4, **geometry, pad_value=pad_value), x)


@pytest.mark.parametrize("groups", [1, 2])
def test_terms_of_circulant_filters(groups: int) -> None:
    x = image(1, 4, 5, 6)
    for pad_value in (0, 1):
        check(build("cbcn", x, 8, 3, stride=(2, 1), padding=(1, 2), groups=groups, pad_value=pad_value), x)


@pytest.mark.parametrize("bias", [False, True])
@every_method
def test_terms_of_a_linear_layer(method: str | Method, bias: bool) -> None:
    if get_method(method).name == "cbcn":
        return  # has no linear layers: test_binary_bad_input.py
    layer = shake(BinaryLinear(70, 5, bias=bias, method=method), 4)
    check(layer, torch.randn(3, 70, generator=torch.Generator().manual_seed(5)))


def test_the_operands_of_every_method() -> None:
    """Which rules the runtime needs, and how many terms."""
    x = image(1, 4, 5, 6)
    found = {}
    for method in list_methods():
        terms = build(method, x, 4, 3).terms()
        found[method] = (len(terms.terms), {type(term.activation) for term in terms.terms})
        assert len(terms.operands()) <= len(terms.terms)
    expected = {method: (1, {Threshold}) for method in list_methods()}
    expected |= {method: (1, {Real}) for method in ("binary_connect", "binary_connect_stochastic", "bwn")}
    expected |= {method: (2, {Threshold, Ones}) for method in ("dorefa", "dorefa_1_1_8")}
    expected |= {method: (4, {Threshold, Ones}) for method in ("adabin", "dsq")}
    expected |= {"horq": (2, {Residual}), "abc_net": (9, {Threshold})}
    assert found == expected


@pytest.mark.parametrize("pad_value", [0, 1, -1])
@pytest.mark.parametrize("method", ["dorefa", "adabin", "dsq", "abc_net"])
def test_a_padded_tap_has_one_of_the_activations_own_values(method: str, pad_value: int) -> None:
    """Zero padding counts nothing, constants included; padding with a bit counts as that bit's level."""
    x = image(1, 2, 3, 3)
    layer = build(method, x, 4, 1, padding=1, pad_value=pad_value)
    with torch.no_grad():
        far = torch.full((1, 2, 1, 1), 100.0 * pad_value)
        level = BinaryConv2d(2, 4, 1, method=method)
        level.load_state_dict(layer.state_dict())
        border = level(far)[0, :, 0, 0] if pad_value else torch.zeros(4)
        torch.testing.assert_close(layer(x)[0, :, 0, 0], border)


def test_a_term_inside_the_image_counts_like_the_formula_of_the_kernel() -> None:
    layer = BinaryConv2d(5, 2, 3, padding=1, method="bnn").eval()
    x = torch.randn(1, 5, 6, 6, generator=torch.Generator().manual_seed(0))
    (term,) = layer.terms().terms
    bits, weight = x[0].numpy() >= 0, term.weight.numpy() > 0
    expected = 45 - 2 * np.count_nonzero(bits[:, 1:4, 2:5] ^ weight[1])
    assert int(layer(x)[0, 1, 2, 3]) == expected


@every_method
def test_terms_are_copies(method: str | Method) -> None:
    x = image(1, 4, 5, 6)
    layer = build(method, x, 4, 3, bias=True)
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    terms = layer.terms()
    tensors = [terms.bias]
    for term in terms.terms:
        tensors += [term.weight, term.scale, getattr(term.activation, "threshold", None)]
    for tensor in tensors:
        if tensor is not None:
            assert not tensor.requires_grad
            tensor.fill_(7)
    for name, tensor in layer.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("method", ["react", "abc_net", "adabin", "horq"])
def test_given_planes_replace_an_operands_own(method: str) -> None:
    """What a runtime computed can be put in its place: with the layer's own planes nothing changes."""
    x = image(2, 4, 5, 6)
    layer = build(method, x, 4, 3, padding=1)
    terms = layer.terms()
    geometry = layer.geometry
    if method == "horq":
        planes = residual_planes(geometry.patches(x), geometry.inside(x), 2)[1::2]
        given = {id(operand): plane for operand, plane in zip(terms.operands(), planes)}
    else:
        given = {id(operand): operand.plane(x) for operand in terms.operands()}
    assert torch.equal(evaluate(terms, x, given), evaluate(terms, x))
    flipped = {key: -plane for key, plane in given.items()}
    assert not torch.equal(evaluate(terms, x, flipped), evaluate(terms, x))
