import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bnn_tasks.binary import (
    STE,
    ApproxSign,
    AttackSurrogate,
    BinaryConv2d,
    BinaryLinear,
    ClippedSTE,
    RSign,
    SignActivation,
    SpreadScaled,
    Tanh,
    attack_surrogate,
    horq,
    list_methods,
    set_progress,
    spread_tanh,
    surrogate_in_force,
    tie_to_size,
)
from bnn_tasks.binary.activations import (
    ActivationBinarizer,
    AffineSign,
    RealActivation,
    ScaledSign,
    ShiftedBases,
    SoftQuantized,
    TanhActivation,
    TwoPhaseSign,
    ZeroOne,
)

# Each with what its sign is taken of, as a multiple of the input and an offset, and the height of its step.
ACTIVATIONS: dict[str, tuple[Callable[[], ActivationBinarizer], float, float, float]] = {
    "sign": (lambda: SignActivation("approx_sign"), 1, 0, 1),
    "rsign": (lambda: _set(RSign(3, "ede"), theta=0.25), 1, -0.25, 1),
    "scaled": (lambda: ScaledSign("approx_sign").eval(), 1, 0, 1),
    "zero one": (ZeroOne, 2, -1, 1 / 2),
    "affine": (lambda: _set(AffineSign("clipped_ste"), alpha=0.5, beta=0.25), 2, -0.5, 0.5),
    "soft quantized": (lambda: _set(SoftQuantized(), lower=-0.5, upper=1.5), 1, -0.5, 1),
    "tanh": (TanhActivation, 1, 0, 1),
    "two phases": (TwoPhaseSign, 1, 0, 1),
}


def _set(module: ActivationBinarizer, **values: float) -> ActivationBinarizer:
    for name, value in values.items():
        getattr(module, name).data.fill_(value)
    return module


def _x(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1.5


def _gradient(module: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    y = module(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    return gradient


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_takes_the_surrogate_in_force(name: str) -> None:
    build, slope, offset, height = ACTIVATIONS[name]
    module = build()
    set_progress(module, 1.0)
    x = _x(2, 3, 4, 4)
    z = slope * x + offset
    outside = module(x)
    own = _gradient(module, x)
    with attack_surrogate(STE()) as use:
        assert torch.equal(module(x), outside)
        torch.testing.assert_close(_gradient(module, x), torch.full_like(x, slope * height))
        assert use.reads == 2
    with attack_surrogate(ClippedSTE(0.5)):
        torch.testing.assert_close(_gradient(module, x), slope * height * (z.abs() <= 0.5).float())
    with attack_surrogate(spread_tanh(3)):
        rate = 3 / z.numpy().std()
        expected = slope * height * rate * (1 - np.tanh(rate * z.numpy()) ** 2)
        np.testing.assert_allclose(_gradient(module, x).numpy(), expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(_gradient(module, x), own)


SURROGATES = [STE(), ClippedSTE(2.0), ApproxSign(), spread_tanh(3)]


def _check_values(layer: nn.Module, x: Tensor, surrogate: AttackSurrogate) -> None:
    x.requires_grad_()
    outside = layer(x)
    with torch.no_grad():
        judged = layer(x)
    with attack_surrogate(surrogate) as use:
        assert torch.equal(layer(x), outside)
        assert (use.reads == 0) == isinstance(layer.activation_binarizer, RealActivation)
        through = torch.autograd.grad(layer(x).sum(), layer.weight)[0]
        with torch.no_grad():
            assert torch.equal(layer(x), judged)
    weights = torch.autograd.grad(outside.sum(), layer.weight)[0]
    torch.testing.assert_close(through, weights, msg="weights keep their estimators")


@pytest.mark.parametrize("method", [*list_methods(), horq()], ids=lambda method: getattr(method, "name", method))
@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda s: type(s).__name__)
def test_every_method_keeps_its_values(method: str, surrogate: AttackSurrogate) -> None:
    layer = BinaryConv2d(4, 8, 3, padding=1, method=method)
    x = _x(2, 4, 6, 6)
    tie_to_size(layer, x)
    set_progress(layer, 1.0)
    _check_values(layer.eval(), x, surrogate)


@pytest.mark.parametrize("method", ["bnn", "react", "dorefa", "adabin"])
def test_linear_layers_keep_their_values(method: str) -> None:
    _check_values(BinaryLinear(6, 5, method=method), _x(3, 6), spread_tanh(3))


@pytest.mark.parametrize("pad_value", [0, 1])
def test_gradient_of_a_convolution_is_that_of_its_two_steps(pad_value: int) -> None:
    layer = BinaryConv2d(3, 4, 3, padding=1, pad_value=pad_value, method="react")
    x = _x(2, 3, 5, 5)
    layer.activation_binarizer.theta.data.copy_(torch.tensor([0.1, -0.2, 0.3]))
    z = x - layer.activation_binarizer.theta.view(3, 1, 1)
    with attack_surrogate(spread_tanh(2)):
        found = _gradient(layer, x)
    signs = torch.where(z >= 0, 1.0, -1.0).detach().requires_grad_()
    padded = nn.functional.pad(signs, (1, 1, 1, 1), value=pad_value)
    y = nn.functional.conv2d(padded, layer.weight_binarizer(layer.weight).detach())
    (above,) = torch.autograd.grad(y.sum(), signs)
    rate = 2 / z.std(correction=0)
    torch.testing.assert_close(found, above * rate * (1 - torch.tanh(rate * z) ** 2), rtol=1e-4, atol=1e-6)


def test_spread_is_taken_over_the_whole_map() -> None:
    # More values than one of the chunks that the product's backward works on.
    layer = BinaryConv2d(2, 2, 1, method="bnn")
    x = _x(3, 2, 256, 256)
    x[0] *= 10
    with attack_surrogate(spread_tanh(1)):
        found = _gradient(layer, x)
    rate = 1 / x.std(correction=0)
    above = layer.weight_binarizer(layer.weight).detach().sum((0, 2, 3)).view(2, 1, 1)
    torch.testing.assert_close(found, above * rate * (1 - torch.tanh(rate * x) ** 2), rtol=1e-4, atol=1e-6)


def test_shifted_bases_and_residuals_take_it_for_every_plane() -> None:
    x = _x(2, 3, 4, 4)
    bases = ShiftedBases(3)
    with attack_surrogate(STE()) as use:
        # Each plane has slope 1, half the 2 of its argument, times β = 1/3.
        torch.testing.assert_close(_gradient(bases, x), torch.ones_like(x))
    assert use.reads == 3
    layer = BinaryConv2d(3, 2, 3, padding=1, method=horq(2))
    own = _gradient(layer, x)
    with attack_surrogate(spread_tanh(10)) as use:
        assert not torch.equal(_gradient(layer, x), own)
    assert use.reads == 2


def test_activations_that_are_still_real_keep_their_derivative() -> None:
    x = _x(2, 3)
    for module in (TanhActivation(), TwoPhaseSign()):
        own = _gradient(module, x)
        with attack_surrogate(STE()) as use:
            assert torch.equal(_gradient(module, x), own)
        assert use.reads == 0


def test_the_forward_decides_not_the_backward() -> None:
    x = _x(2, 3).requires_grad_()
    module = SignActivation(ApproxSign())
    with attack_surrogate(STE()):
        inside = module(x).sum()
    outside = module(x).sum()
    assert torch.equal(torch.autograd.grad(inside, x)[0], torch.ones(2, 3))
    with attack_surrogate(STE()):
        torch.testing.assert_close(torch.autograd.grad(outside, x)[0], (2 - 2 * x.abs()).clamp_min(0).detach())


def test_nested_blocks_and_exceptions() -> None:
    outer, inner = STE(), spread_tanh(1)
    assert surrogate_in_force() is None
    with attack_surrogate(outer):
        assert surrogate_in_force() is outer
        with attack_surrogate(inner):
            assert surrogate_in_force() is inner
        with pytest.raises(KeyError), attack_surrogate(inner):
            raise KeyError
        assert surrogate_in_force() is outer
    assert surrogate_in_force() is None


def test_other_threads_do_not_see_it() -> None:
    seen: list[object] = []
    with attack_surrogate(STE()):
        thread = threading.Thread(target=lambda: seen.append(surrogate_in_force()))
        thread.start()
        thread.join()
    assert seen == [None]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_low_precision_and_constant_inputs(dtype: torch.dtype) -> None:
    x = _x(4, 5).to(dtype)
    with attack_surrogate(spread_tanh(3)):
        gradient = _gradient(SignActivation(STE()), x)
        constant = _gradient(SignActivation(STE()), torch.full((1, 1), 2.0, dtype=dtype))
    rate = 3 / x.double().std(correction=0)
    expected = rate * (1 - torch.tanh(rate * x.double()) ** 2)
    torch.testing.assert_close(gradient.double(), expected, rtol=5e-2, atol=2e-2)
    assert gradient.dtype == dtype
    assert constant.isfinite().all()


def test_clip_of_any_width() -> None:
    x = torch.tensor([-2.0, -1.999, 0.0, 2.0, 2.001])
    assert ClippedSTE(2.0).surrogate_gradient(x).tolist() == [1, 1, 1, 1, 0]
    assert ClippedSTE(2.0).multiply_(torch.full((5,), 3.0), x).tolist() == [3, 3, 3, 3, 0]
    with pytest.raises(ValueError, match="`clip` to be a finite number > 0"):
        ClippedSTE(0)


@pytest.mark.parametrize("surrogate", ["ste", STE, None])
def test_anything_else_is_refused(surrogate: object) -> None:
    with pytest.raises(TypeError, match=r"as STE\(\)"), attack_surrogate(surrogate):  # type: ignore[arg-type]
        pass


def test_spread_scaled_wraps_any_estimator() -> None:
    x = _x(50)
    with attack_surrogate(SpreadScaled(ClippedSTE(1.0))):
        gradient = _gradient(SignActivation(Tanh()), x)
    sigma = x.std(correction=0)
    torch.testing.assert_close(gradient, (x.abs() <= sigma).float() / sigma)
