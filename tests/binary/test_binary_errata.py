"""Mistakes in published papers and code (shared/reference/methods.md, E), and what holds here instead."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bnn_tasks.binary import (
    AnalyticScale,
    ApproxSign,
    BinaryConv2d,
    BinaryLinear,
    ClippedSTE,
    SignSwish,
    abc_net,
    list_methods,
    set_progress,
    sign,
    tie_to_size,
)
from bnn_tasks.binary.activations import AffineSign, ScaledSign

GENERATOR = 7


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(GENERATOR))


@pytest.mark.parametrize("n", [1, 63, 64, 65, 200])
def test_dorefa_paper_popcount_identity(n: int) -> None:
    """Footnote: x·y = N - 2·bitcount(xnor(x, y)), which is the negative. It is N - 2·popcount(xor) = 2·popcount(xnor) - N."""
    rng = np.random.default_rng(n)
    a, b = rng.integers(0, 2, n), rng.integers(0, 2, n)
    dot = int((2 * a - 1) @ (2 * b - 1))
    xor = int((a ^ b).sum())
    xnor = n - xor
    assert n - 2 * xor == 2 * xnor - n == dot
    assert n - 2 * xnor == -dot
    layer = BinaryLinear(n, 1, method="bnn")
    layer.weight.data.copy_(torch.from_numpy(2 * b - 1))
    with torch.no_grad():
        assert int(layer(torch.from_numpy(2.0 * a - 1).float()[None])) == dot


@pytest.mark.parametrize("method", list_methods())
def test_torch_sign_and_bnn_lab_at_zero(method: str) -> None:
    """IR-Net, ReCU, AdaBin, 1adrianb/bnn and XNOR-Net-PyTorch take torch.sign, whose sign(0) = 0 is no bit; bnn-lab has -1.
    BNN's eq. 1 has +1, and so have all methods here, for 0.0 and -0.0, weights and activations."""
    zeros = torch.tensor([0.0, -0.0])
    assert torch.sign(zeros).abs().sum() == 0
    assert sign(zeros).tolist() == [1, 1]
    layer = BinaryConv2d(4, 4, 3, padding=1, method=method)
    tie_to_size(layer, torch.zeros(1, 4, 4, 4))
    set_progress(layer, 1.0)
    layer.weight.data[:, ::2] = 0.0
    layer.weight.data[:, 1, 0] = -0.0
    for term in layer.terms().terms:
        assert set(term.weight.unique().tolist()) <= {-1, 1}
    outputs = []
    for zero in zeros:
        x = randn(1, 4, 4, 4)
        x[0, :, 1:3] = zero
        with torch.no_grad():
            outputs.append(layer.eval()(x))
    assert torch.equal(outputs[0], outputs[1])


def test_adabin_code_scales_the_offset() -> None:
    """The released code returns α·(sgn + β); the paper's eq. has α·sgn + β, whose two values are β ± α."""
    layer = AffineSign(ApproxSign())
    layer.alpha.data.fill_(2.0)
    layer.beta.data.fill_(0.5)
    x = randn(100)
    signs = torch.where(x >= 0.5, 1.0, -1.0)
    paper, code = 2 * signs + 0.5, 2 * (signs + 0.5)
    assert torch.equal(layer(x), paper)
    assert not torch.equal(layer(x), code)


def test_recu_code_divides_in_training_only() -> None:
    """By design the released code divides activations by their spread in training and not in evaluation. A sign does not see
    the division, so that training and evaluation agree here; only the gradient's window moves."""
    layer = ScaledSign(ApproxSign())
    x = (5 * randn(2, 3, 8, 8)).requires_grad_()
    grads = []
    for mode in (True, False):
        layer.train(mode)
        y = layer(x)
        assert torch.equal(y.detach(), sign(x))
        grads.append(torch.autograd.grad(y.sum(), x)[0])
    reached = [float((grad != 0).double().mean()) for grad in grads]
    assert reached[0] > 0.6 > 0.3 > reached[1]


def test_bnn_plus_code_overflows() -> None:
    """g = β(2 - βx·tanh(βx/2))/(1 + cosh(βx)): cosh overflows float32 beyond βx = 88 and float16 beyond 11, and at large x the
    quotient of infinities is no number. The equal form 2β·σ(1-σ)·(2 + βx(1-2σ)) goes to 0."""
    beta = 10.0
    x = torch.tensor([50.0, -50.0, 1e38, -1e38])
    z = beta * x
    naive = beta * (2 - z * torch.tanh(z / 2)) / (1 + torch.cosh(z))
    assert not torch.isfinite(torch.cosh(z)).any()
    assert not torch.isfinite(naive).all()
    assert not SignSwish(beta).surrogate_gradient(x).any()
    assert not torch.isfinite(torch.cosh(torch.tensor(12.0, dtype=torch.float16)))
    assert torch.isfinite(SignSwish(beta).surrogate_gradient(torch.tensor([1.2, 500.0], dtype=torch.float16))).all()


def test_bnn_plus_surrogate_is_not_monotone() -> None:
    """The paper presents SignSwish as a smooth sign; it overshoots to 1.2 and its gradient is negative beyond βx = 2.3994."""
    x = torch.tensor([0.47, 0.49, 0.687])
    slope = SignSwish(5.0).surrogate_gradient(x)
    assert slope[0] > 0 > slope[1]
    assert float(slope[2]) == pytest.approx(-0.369, abs=1e-3)


@pytest.mark.parametrize("pad_value", [0, 1, -1])
def test_bnn_lab_zero_padding_is_no_bit(pad_value: int) -> None:
    """bnn-lab pads ±1 activations with zeros and counts all N taps; a zero is no bit. Here 0 counts the valid taps only,
    N_valid - 2·popcount over them, and a bit must be asked for."""
    layer = BinaryConv2d(5, 1, 3, padding=1, pad_value=pad_value, method="bnn")
    x = randn(1, 5, 4, 4)
    bits = np.pad(x[0].numpy() >= 0, ((0, 0), (1, 1), (1, 1)), constant_values=pad_value > 0)
    weight = layer.weight.detach()[0].numpy() >= 0
    with torch.no_grad():
        corner = int(layer(x)[0, 0, 0, 0])
    differ = bits[:, :3, :3] ^ weight
    if pad_value:
        assert corner == 45 - 2 * differ.sum()
    else:
        assert corner == 20 - 2 * differ[:, 1:, 1:].sum()
        real = F.conv2d(sign(x), sign(layer.weight), padding=1)
        assert corner == int(real[0, 0, 0, 0])


def test_1adrianb_takes_signs_without_gradient() -> None:
    """AdvancedInputBinarizer takes the sign under no_grad, which kills the gradient of everything before it."""

    def as_published(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return torch.sign(x)

    x = randn(2, 4, 5, 5).requires_grad_()
    assert not as_published(x).requires_grad
    for method in list_methods():
        layer = BinaryConv2d(4, 4, 3, method=method)
        tie_to_size(layer, x.detach()[:1])
        (grad,) = torch.autograd.grad(layer(x).square().sum(), x)
        assert grad.abs().sum() > 0, method


@pytest.mark.parametrize("arguments", [{"dilation": 2}, {"groups": 2}, {"dilation": (1, 2), "groups": 4}])
def test_bibench_convolution_ignores_dilation_and_groups(arguments: dict) -> None:
    """Its binary convolution does not hand dilation and groups on: another receptive field, or an error."""
    layer = BinaryConv2d(4, 8, 3, padding=1, **arguments, method="bnn")
    x = randn(1, 4, 7, 7)
    right = F.conv2d(sign(x), sign(layer.weight), padding=1, **arguments)
    torch.testing.assert_close(layer(x), right)
    with torch.no_grad():
        assert torch.equal(layer(x), right)
    if "groups" not in arguments:
        ignored = F.conv2d(sign(x), sign(layer.weight), padding=1)
        assert ignored.shape != right.shape


@pytest.mark.parametrize("method", [method for method in list_methods() if method != "cbcn"])
def test_bibench_linear_drops_its_bias(method: str) -> None:
    """BiRealLinear forgets the bias; here it counts, in training and in evaluation."""
    layer = BinaryLinear(6, 3, bias=True, method=method)
    set_progress(layer, 1.0)
    x = randn(2, 6)
    before = layer.eval()(x).detach()
    layer.bias.data.copy_(torch.tensor([1.0, -2.0, 3.0]))
    torch.testing.assert_close(layer(x).detach() - before, layer.bias.detach().expand(2, 3))
    with torch.no_grad():
        torch.testing.assert_close(layer(x) - before, layer.bias.expand(2, 3))


def test_bitorch_prints_in_backward(capfd: pytest.CaptureFixture[str]) -> None:
    """SteHeaviside's backward has a stray print. Nothing here says anything."""
    x = randn(1, 4, 5, 5).requires_grad_()
    for method in list_methods():
        layer = BinaryConv2d(4, 4, 3, method=method)
        tie_to_size(layer, x.detach())
        layer(x).sum().backward()
        set_progress(layer, 1.0)
        layer.terms()
    assert capfd.readouterr() == ("", "")


def test_xnor_paper_gradient_is_a_shorthand() -> None:
    """The paper writes dC/dW_i = dC/dW̃_i·(1/n + α·1). That holds for one tap; the scale depends on all taps, so the chain rule
    has sign(W_i)/n·Σ_j G_j·sign(W_j). The part through α is a true derivative: finite differences agree with the latter."""
    n = 12
    weight = randn(1, n).double().requires_grad_()
    above = randn(2, n)[1:].double()
    (above * AnalyticScale(ClippedSTE())(weight)).sum().backward()
    w, g = weight.detach(), above
    alpha, inside = w.abs().mean(), (w.abs() < 1).double()
    shorthand = g * (1 / n + alpha * inside)
    exact = alpha * inside * g + sign(w) / n * (g * sign(w)).sum()
    torch.testing.assert_close(weight.grad, exact)
    assert not torch.allclose(weight.grad, shorthand)
    # The signs do not change over a small step, so the loss changes through α alone.
    step = 1e-6
    for i in range(n):
        losses = []
        for side in (step, -step):
            moved = w.clone()
            moved[0, i] += side
            losses.append(float((g * moved.abs().mean() * sign(moved)).sum()))
        through_alpha = float((exact - alpha * inside * g)[0, i])
        assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(through_alpha, rel=1e-5)


def test_abc_net_paper_window_has_the_wrong_sign() -> None:
    """Forward clips x + v; the paper's backward asks for 0 <= x - v <= 1. The window is where forward's clip is linear."""
    layer = abc_net(1, 1).activation(None)
    layer.shift.data.fill_(0.75)
    layer.beta.data.fill_(1.0)
    x = torch.linspace(-2, 2, 41).requires_grad_()
    layer(x).sum().backward()
    assert torch.equal(x.grad != 0, (x + 0.75 >= 0) & (x + 0.75 <= 1))
    assert not torch.equal(x.grad != 0, (x - 0.75 >= 0) & (x - 0.75 <= 1))
