"""What multiplies a layer's sums: XNOR-Net's K map, XNOR-Net++'s spatial scales, DoReFa-Net's quantised gradient."""

import numpy as np
import pytest
import torch

from bnn_tasks.binary import BinaryConv2d, Method, horq, tie_to_size
from bnn_tasks.binary.scales import quantize_gradient


def image(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def build(method: str | Method, *sizes: int, **arguments: int) -> BinaryConv2d:
    torch.manual_seed(0)
    return BinaryConv2d(*sizes, **arguments, method=method)


@pytest.mark.parametrize("pad_value", [0, 1, -1])
def test_horq_of_order_one_is_xnors_k_map(pad_value: int) -> None:
    x = image(2, 4, 6, 5)
    layers = [build(m, 4, 6, 3, padding=1, groups=2, pad_value=pad_value) for m in (horq(1), "xnor_k")]
    layers[1].load_state_dict(layers[0].state_dict())
    torch.testing.assert_close(layers[0](x), layers[1](x))


@pytest.mark.parametrize("padding", [0, 1])
def test_the_k_map_is_the_papers(padding: int) -> None:
    """K = A * k, A = mean_c abs(I), k a box of 1/(w·h)."""
    x = image(1, 3, 5, 6)
    ratio = []
    for method in ("xnor_k", "xnor"):
        layer = build(method, 3, 4, 3, padding=padding)
        layer.weight.data.fill_(0.25)
        ratio.append(layer(x.abs() + 0.1).detach())
    a = torch.nn.functional.pad((x.abs() + 0.1).mean(1), (padding,) * 4)[0].numpy()
    k = np.array([[a[i : i + 3, j : j + 3].mean() for j in range(a.shape[1] - 2)] for i in range(a.shape[0] - 2)])
    np.testing.assert_allclose((ratio[0] / ratio[1])[0, 0], k, rtol=1e-5)


@pytest.mark.parametrize("case", ["full", "place", "separable"])
def test_a_state_dict_ties_a_fresh_layer(case: str) -> None:
    x = image(2, 3, 6, 8)
    layer, fresh = (BinaryConv2d(3, 4, 3, method=f"xnor_pp_{case}") for _ in range(2))
    tie_to_size(layer, x)
    for factor in layer.output_scale.factors:
        torch.nn.init.normal_(factor)
    fresh.load_state_dict(layer.state_dict())
    assert torch.equal(fresh(x), layer(x))
    other = BinaryConv2d(3, 4, 3, method=f"xnor_pp_{case}")
    tie_to_size(other, image(1, 3, 9, 9))
    with pytest.raises(RuntimeError, match="size mismatch"):
        other.load_state_dict(layer.state_dict())


@pytest.mark.parametrize("case", ["full", "place", "separable"])
def test_spatial_scales_multiply_as_an_outer_product(case: str) -> None:
    """XNOR-Net++: Γ is α(o), α(o)⊗β(h·w) or α(o)⊗β(h)⊗γ(w); all ones are the plain convolution."""
    x = image(2, 3, 6, 8)
    layer = BinaryConv2d(3, 4, 3, stride=(1, 2), method=f"xnor_pp_{case}")
    tie_to_size(layer, x[:1])
    height, width = 4, 3
    plain = BinaryConv2d(3, 4, 3, stride=(1, 2), method="bnn")
    plain.load_state_dict({"weight": layer.weight})
    assert torch.equal(layer(x), plain(x))
    count = {"full": 4 * height * width, "place": 4 + height * width, "separable": 4 + height + width}[case]
    assert sum(factor.numel() for factor in layer.output_scale.factors) == count
    generator = np.random.default_rng(0)
    values = [generator.standard_normal(factor.shape) for factor in layer.output_scale.factors]
    for factor, value in zip(layer.output_scale.factors, values):
        factor.data.copy_(torch.from_numpy(value))
    if case == "full":
        gamma = values[0]
    elif case == "place":
        gamma = np.einsum("o,hw->ohw", values[0].ravel(), values[1][0])
    else:
        gamma = np.einsum("o,h,w->ohw", *[value.ravel() for value in values])
    np.testing.assert_allclose(layer(x).detach(), plain(x).detach().numpy() * gamma, rtol=1e-4, atol=1e-5)
    above = torch.randn(2, 4, height, width, generator=torch.Generator().manual_seed(0))
    layer(x).backward(above)
    # The gradients of the factors are true ones: Γ enters linearly.
    by_gamma = (above * plain(x).detach()).sum(0).numpy()
    for index, (factor, value) in enumerate(zip(layer.output_scale.factors, values)):
        rest = np.prod([np.broadcast_to(v, gamma.shape) for i, v in enumerate(values) if i != index] or [1.0], axis=0)
        axes = tuple(axis for axis in range(3) if value.shape[axis] == 1)
        expected = (by_gamma * rest).sum(axes, keepdims=True)
        np.testing.assert_allclose(factor.grad, expected, rtol=1e-3, atol=1e-3)


def test_tying_keeps_what_was_learned_and_everything_else() -> None:
    net = torch.nn.Sequential(
        BinaryConv2d(3, 4, 3, method="xnor_pp_separable"), torch.nn.BatchNorm2d(4), BinaryConv2d(4, 4, 3, method="bnn")
    )
    net[1].eval()
    x = image(1, 3, 8, 8)
    tie_to_size(net, x)
    assert net.training
    assert not net[1].training
    net[0].output_scale.factors[0].data.fill_(3)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    tie_to_size(net, x)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    tie_to_size(net, image(1, 3, 9, 8))
    assert [tuple(f.shape) for f in net[0].output_scale.factors] == [(4, 1, 1), (1, 7, 1), (1, 1, 6)]
    double = BinaryConv2d(3, 4, 3, method="xnor_pp_full").double()
    tie_to_size(double, x.double())
    assert double.output_scale.factors[0].dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_dorefa_gradient_noise_makes_the_rounding_right_on_average(bits: int, dtype: torch.dtype) -> None:
    """Without the noise, small gradients would be rounded away."""
    torch.manual_seed(0)
    grad = torch.tensor([[0.0, 1e-3, -0.02, 0.3, -0.61, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]).to(dtype)
    draws = 20_000
    many = grad[:1].expand(draws, -1).contiguous()
    quantized = quantize_gradient(many, bits)
    assert quantized.dtype == dtype
    assert not quantize_gradient(grad, bits)[1].any(), "a gradient of zero stays zero"
    step = 2 / (2**bits - 1)
    levels = (quantized.double() / step + (2**bits - 1) / 2).numpy()
    np.testing.assert_allclose(levels, levels.round(), atol=0.01 if dtype == torch.float32 else 0.6)
    assert float(quantized.abs().max()) <= 1
    # 5 standard deviations of the mean of draws within one step; bfloat16 rounds every result.
    tolerance = 5 * step / 2 / draws**0.5 + (0 if dtype == torch.float32 else 2e-3)
    np.testing.assert_allclose(quantized.double().mean(0), grad[0].double(), atol=tolerance)
    each = quantize_gradient(torch.cat([grad[:1], 100 * grad[:1]]), bits)
    assert float(each[0].abs().max()) <= 1
    assert float(each[1].abs().max()) > 10, "the largest gradient is every sample's own"
