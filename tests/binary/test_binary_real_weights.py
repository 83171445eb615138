"""Stage one of a training in two: any method's activations with real weights; and how stage two takes its weights over."""

import pytest
import torch
from torch import nn

from bnn_tasks.binary import (
    BinaryConv2d,
    BinaryLinear,
    Method,
    get_method,
    list_methods,
    set_progress,
    with_real_weights,
)
from bnn_tasks.binary.profile import profile
from bnn_tasks.binary.start import load_weights

BINARY = [
    name for name in list_methods() if get_method(name).binary_activations and not get_method(name).spatially_tied
]


def layer(method: str | Method, seed: int = 0) -> BinaryConv2d:
    torch.manual_seed(seed)
    return BinaryConv2d(4, 8, 3, padding=1, bias=True, method=method)


@pytest.mark.parametrize("method", BINARY)
def test_activations_are_the_methods_and_weights_real(method: str) -> None:
    first, second = layer(with_real_weights(method)).eval(), layer(method).eval()
    for net in (first, second):
        set_progress(net, 1.0)
    second.activation_binarizer.load_state_dict(first.activation_binarizer.state_dict())
    x = torch.randn(2, 4, 6, 7)
    with torch.no_grad():
        binary = second.activation_binarizer.product(x, first.weight, first.geometry)
        torch.testing.assert_close(first(x), first.output_scale(binary, x, first.geometry))
    assert not first.ready
    assert get_method(method).name in first.method_name


def test_bireal_by_hand() -> None:
    first = layer(with_real_weights("bireal"))
    x = torch.randn(2, 4, 6, 7)
    signs = torch.where(x >= 0, 1.0, -1.0)
    torch.testing.assert_close(first(x), nn.functional.conv2d(signs, first.weight, first.bias, padding=1))
    first(x).sum().backward()
    wanted = torch.nn.grad.conv2d_weight(signs, first.weight.shape, torch.ones(2, 8, 6, 7), padding=1)
    torch.testing.assert_close(first.weight.grad, wanted)


@pytest.mark.parametrize("method", BINARY)
def test_it_has_no_terms_and_says_what_to_do(method: str) -> None:
    first = layer(with_real_weights(method))
    set_progress(first, 1.0)
    with pytest.raises(ValueError, match=r"Cure: train a second stage.*ModelWeights"):
        first.terms()


def test_the_profile_calls_nothing_binary() -> None:
    (row,) = profile(nn.Sequential(layer(with_real_weights("react"))), torch.rand(1, 4, 5, 5))
    assert (row.binary_params, row.real_params) == (0, 8 * 4 * 9 + 8 + 4)
    assert (row.bops, row.flops) == (0, 8 * 25 * 36)


@pytest.mark.parametrize("method", ["bwn", "binary_connect"])
def test_real_activations_and_real_weights_are_refused(method: str) -> None:
    with pytest.raises(ValueError, match=f"binarise activations, but got '{method}'.*Cure"):
        with_real_weights(method)


@pytest.mark.parametrize("method", BINARY)
def test_stage_two_starts_from_the_weights_of_stage_one(method: str) -> None:
    def net(of: str | Method, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        last = nn.Linear(8, 3) if method == "cbcn" else BinaryLinear(8, 3, method=of)
        return nn.Sequential(layer(of, seed), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)

    first, second = net(with_real_weights(method), 1), net(method, 2)
    first(torch.randn(4, 4, 6, 6))
    report = load_weights(second, first.state_dict())
    twin = layer(method, 3)
    twin.load_float(first[0].weight, None)
    assert torch.equal(second[0].weight, twin.weight)
    assert torch.equal(second[0].bias, first[0].bias)
    assert torch.equal(second[1].running_mean, first[1].running_mean)
    assert torch.equal(second[4].weight.sign(), first[4].weight.sign())
    assert all("binarizer" in name or "output_scale" in name for name in report.fresh + report.left_out)
    assert set(report.fresh) | set(report.loaded) == set(second.state_dict())


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), r"1 have no place .*'0\.bias'"),
        (nn.Sequential(nn.Conv2d(3, 4, 3, bias=False)), r"5 of this one are missing \['1\.weight'"),
        (nn.Sequential(nn.Conv2d(3, 4, 5, bias=False), nn.BatchNorm2d(4)), r"'0\.weight' to have shape \(4, 3, 3, 3\)"),
    ],
    ids=["foreign", "missing", "shape"],
)
def test_what_does_not_fit_is_named_and_nothing_copied(other: nn.Module, message: str) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    nn.init.ones_(other[0].weight)
    with pytest.raises(ValueError, match=message):
        load_weights(net, other.state_dict())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
