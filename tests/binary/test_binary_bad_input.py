"""What cannot work is refused, with the cure."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from bnn_tasks.binary import (
    EDE,
    AnalyticScale,
    BinaryConv2d,
    BinaryLinear,
    LayerShape,
    LearnedScale,
    MagnitudeAware,
    RSign,
    SignActivation,
    SignWeight,
    abc_net,
    bitwise,
    dorefa,
    get_estimator,
    get_method,
    horq,
    list_estimators,
    list_methods,
    set_progress,
    tie_to_size,
)
from bnn_tasks.binary.activations import AffineSign, ScaledSign
from bnn_tasks.binary.weights import AffineWeight, CirculantFilters, LibraPB, RotatedSign

every_method = pytest.mark.parametrize("method", list_methods())
TIED = [method for method in list_methods() if get_method(method).spatially_tied]


def test_unknown_method_lists_the_nearest_and_all() -> None:
    with pytest.raises(
        ValueError, match=r"Expected `method` to be one of .*'xnor'.*but got 'xnot'. Nearest: 'xnor'"
    ) as error:
        get_method("xnot")
    for name in list_methods():
        assert repr(name) in str(error.value)
    with pytest.raises(ValueError, match=r"but got 'qqq'\.$"):
        get_method("qqq")


@pytest.mark.parametrize(
    ("spelt", "meant"),
    [
        ("IR-Net", "ir_net"),
        ("irnet", "ir_net"),
        ("BinaryConnect", "binary_connect"),
        ("XNOR-Net", "xnor"),
        ("ReActNet", "react"),
    ],
)
def test_a_method_spelt_as_its_paper_does(spelt: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"but got '{spelt}'. Nearest: '{meant}'"):
        get_method(spelt)


@pytest.mark.parametrize(
    ("spelt", "why"), [("PACT", "k-bit quantiser, later"), ("apprentice", "a way to train, .* with any method")]
)
def test_a_method_that_is_not_built_says_why(spelt: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"but got '{spelt}'. Not built: {why}."):
        BinaryConv2d(2, 2, 1, method=spelt)


BINARISERS = [
    SignWeight,
    AnalyticScale,
    MagnitudeAware,
    partial(LearnedScale, 4),
    AffineWeight,
    LibraPB,
    partial(RotatedSign, 4, 9),
    partial(CirculantFilters, LayerShape(4, 2, (3, 3))),
    SignActivation,
    partial(RSign, 2),
    ScaledSign,
    AffineSign,
]


@pytest.mark.parametrize("build", BINARISERS)
def test_an_estimator_by_name_or_not_at_all(build: object) -> None:
    for name in list_estimators():
        found = build(estimator=name)
        assert type(getattr(found, "binarizer", found).estimator) is type(get_estimator(name))
    with pytest.raises(
        ValueError, match=r"Expected `estimator` to be one of .*'ede'.*but got 'ApproxSing'. Nearest: 'approx_sign'"
    ) as error:
        build(estimator="ApproxSing")
    for name in list_estimators():
        assert repr(name) in str(error.value)
    for wrong in (EDE, None, torch.nn.ReLU()):
        with pytest.raises(TypeError, match=r"Expected `estimator` to be an Estimator object, .*'ede'.* but got"):
            build(estimator=wrong)


@pytest.mark.parametrize("method", [None, 3, BinaryConv2d, ["xnor"]])
def test_a_method_of_the_wrong_type(method: object) -> None:
    with pytest.raises(TypeError, match="Expected `method` to be a name or a Method, but got"):
        BinaryConv2d(2, 2, 1, method=method)


@pytest.mark.parametrize(
    "build",
    [
        lambda: BinaryConv2d(8, 8, 3, groups=8, method="cbcn"),
        lambda: BinaryConv2d(8, 8, 1, method="cbcn"),
        lambda: BinaryConv2d(8, 8, (3, 1), method="cbcn"),
        lambda: BinaryConv2d(8, 6, 3, method="cbcn"),
        lambda: BinaryConv2d(8, 12, 3, groups=2, method="cbcn"),
        lambda: BinaryLinear(8, 8, method="cbcn"),
    ],
    ids=["depthwise", "1x1", "3x1", "6_outputs", "6_a_group", "linear"],
)
def test_circulant_filters_need_3x3_and_a_multiple_of_four(build: object) -> None:
    with pytest.raises(
        ValueError, match=r"Expected 3×3 convolutions with a multiple of 4 outputs.*Cure: keep the layer real"
    ):
        build()


@pytest.mark.parametrize("method", TIED)
@pytest.mark.parametrize("gradient", [True, False])
def test_spatial_scales_need_their_size(method: str, gradient: bool) -> None:
    layer = BinaryConv2d(2, 4, 3, method=method)
    untied = r"Expected a net whose input size is fixed.*Cure: method 'xnor_pp', or bnn_tasks.binary.tie_to_size"
    with torch.set_grad_enabled(gradient):
        with pytest.raises(ValueError, match=untied):
            layer(torch.randn(1, 2, 8, 8))
        with pytest.raises(ValueError, match=untied):
            layer.terms()
        tie_to_size(layer, torch.randn(1, 2, 8, 8))
        layer(torch.randn(3, 2, 8, 8))
        # 3×3 gives one pixel, which would broadcast to the six that the scales have.
        for size, got in (((9, 8), r"\(7, 6\)"), ((3, 3), r"\(1, 1\)")):
            message = rf"Expected an output of \(6, 6\) pixels.*but got {got}. Cure: .*`input_size` of a classifier.*'xnor_pp'"
            with pytest.raises(ValueError, match=message):
                layer(torch.randn(1, 2, *size))


@pytest.mark.parametrize("progress", [1.01, -0.1, math.nan, math.inf])
def test_a_progress_out_of_range(progress: float) -> None:
    layer = BinaryConv2d(2, 2, 1, method="ir_net")
    with pytest.raises(ValueError, match=r"Expected `progress` to be in \[0, 1\], but got .*Cure: steps done"):
        set_progress(layer, progress)
    assert float(layer.weight_binarizer.estimator.progress) == 0


@every_method
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers(method: str, value: float) -> None:
    layer = BinaryConv2d(2, 4, 3, method=method)
    tie_to_size(layer, torch.randn(1, 2, 5, 5))
    set_progress(layer, 1.0)
    layer.weight.data[0, 1, 2, 0] = value
    for call in (layer.check, layer.terms, lambda: torch.no_grad()(layer)(torch.randn(1, 2, 5, 5))):
        with pytest.raises(ValueError, match=r"Expected finite latent weights.*Cure: an earlier checkpoint"):
            call()


@every_method
@pytest.mark.parametrize("value", [0.0, 0.1, -1.0])
def test_weights_that_are_all_equal(method: str, value: float) -> None:
    """Methods that divide by a spread refuse, in whatever precision the mean is; the others binarise."""
    layer = BinaryConv2d(3, 4, 3, method=method)
    tie_to_size(layer, torch.randn(1, 3, 5, 5))
    set_progress(layer, 1.0)
    layer.weight.data[-1] = value
    if method in ("ir_net", "rbnn", "adabin", "abc_net"):
        for call in (layer.check, layer.terms):
            with pytest.raises(
                ValueError, match=rf"differ.*filter\(s\) \[{len(layer.weight) - 1}\] are all equal.*Cure: a random"
            ):
                call()
    else:
        layer.check()
        with torch.no_grad():
            assert torch.isfinite(layer(torch.randn(1, 3, 5, 5))).all()
    if method not in ("ir_net", "rbnn"):  # 0/0, which no estimator can mend
        x = torch.randn(1, 3, 5, 5, requires_grad=True)
        layer(x).sum().backward()
        assert torch.isfinite(layer.weight.grad).all()


@every_method
def test_a_filter_of_one_tap(method: str) -> None:
    if method == "cbcn":
        return
    layer = BinaryConv2d(4, 4, 1, groups=4, method=method)
    tie_to_size(layer, torch.randn(1, 4, 3, 3))
    set_progress(layer, 1.0)
    x = torch.randn(2, 4, 3, 3, requires_grad=True)
    y = layer(x)
    y.square().sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(layer.weight.grad).all()
    with torch.no_grad():
        torch.testing.assert_close(layer.eval()(x), layer.terms() and torch.enable_grad()(layer)(x).detach())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: abc_net(0), "Expected `count` to be >= 1, but got 0"),
        (lambda: abc_net(1, 0), "Expected `count` to be >= 1, but got 0"),
        (lambda: horq(0), "Expected `order` to be >= 1, but got 0"),
        (lambda: dorefa(0), r"Expected `bits` to be in \[1, 16\], but got 0"),
        (lambda: dorefa(17), r"Expected `bits` to be in \[1, 16\], but got 17"),
        (lambda: bitwise(1.0), "Expected `sparsity` in"),
        (lambda: bitwise(-0.1), "Expected `sparsity` in"),
    ],
)
def test_a_methods_own_arguments(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BinaryConv2d(2, 2, 1, method=build())


def test_real_layers_are_left_alone() -> None:
    net = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU())
    before = [p.clone() for p in net.parameters()]
    set_progress(net, 0.5)
    tie_to_size(net, torch.randn(1, 2, 4, 4))
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters()))
