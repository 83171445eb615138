"""BatchNorm folded into integer thresholds: the runtime's bits are torch's, without exception."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bnn_tasks.binary import BinaryConv2d, BinaryLinear, Method, abc_net, sign
from bnn_tasks.export import ExportReport, export
from bnn_tasks.runtime import Session


def chain(
    *between: nn.Module, first: dict | None = None, second: dict | None = None, method: str | Method = "xnor"
) -> nn.Module:
    """Binary convolution, whatever is folded, binary convolution."""
    torch.manual_seed(0)
    arguments = {"kernel_size": 3, "padding": 1, "method": method}
    return nn.Sequential(
        BinaryConv2d(4, 8, **{**arguments, **(first or {})}),
        *between,
        BinaryConv2d(8, 4, **{**arguments, **(second or {})}),
    ).eval()


def batch_norm(gamma: str, beta: str, mean: str) -> nn.BatchNorm2d:
    generator = torch.Generator().manual_seed(1)
    norm = nn.BatchNorm2d(8)
    draws = {"random": torch.randn(8, generator=generator), "integer": torch.randint(-12, 13, (8,)).float()}
    draws |= {"zero": torch.zeros(8), "negative": -draws["random"].abs() - 0.1, "huge": torch.full((8,), 1e4)}
    norm.weight.data.copy_(draws[gamma])
    norm.bias.data.copy_(draws[beta])
    norm.running_mean.copy_(draws[mean])
    norm.running_var.copy_(0.5 + torch.rand(8, generator=generator))
    return norm


def write(net: nn.Module, path: Path, x: Tensor) -> tuple[ExportReport, Session]:
    report = export(net, path / "net.safetensors", example=x)
    return report, Session(path / "net.safetensors")


def example(batch: int = 2, channels: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(batch, channels, 6, 7, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def check_bits(net: nn.Sequential, session: Session, x: Tensor) -> None:
    """The folded node's bits against torch's own modules, image by image."""
    for image in x:
        signed = net[-1].activation_binarizer(net[:-1](image[None]))[0]
        np.testing.assert_array_equal(session.values(image.numpy())["0"], signed.numpy().astype(np.int8))
    np.testing.assert_allclose(session.forward(x.numpy()), net(x).numpy(), rtol=1e-6)


GAMMAS = ("random", "negative", "zero")
SHIFTS = ("random", "zero", "integer", "huge")


@pytest.mark.parametrize(("gamma", "beta", "mean"), list(itertools.product(GAMMAS, SHIFTS[:2], SHIFTS)))
def test_bits_are_torchs_for_any_batch_norm(tmp_path: Path, gamma: str, beta: str, mean: str) -> None:
    net = chain(batch_norm(gamma, beta, mean), method="bnn")
    x = example()
    report, session = write(net, tmp_path, x)
    assert report.folded == 1
    assert report.parity.ties == 0
    check_bits(net, session, x)


@pytest.mark.parametrize("pad_value", [0, 1, -1])
@pytest.mark.parametrize(
    "first",
    [
        {"padding": 2, "dilation": 2},
        {"stride": 2, "groups": 2},
        {"padding": (0, 2), "kernel_size": (1, 4)},
        {"kernel_size": 1, "padding": 1},
        {"bias": True},
    ],
    ids=str,
)
def test_bits_are_torchs_for_any_geometry(tmp_path: Path, first: dict, pad_value: int) -> None:
    for second in ({}, {"groups": 4}):
        net = chain(batch_norm("random", "zero", "random"), first={**first, "pad_value": pad_value}, second=second)
        if net[0].bias is not None:
            nn.init.normal_(net[0].bias)
        x = example(1)
        report, session = write(net, tmp_path, x)
        assert report.folded == 1
        check_bits(net, session, x)


def test_a_tie_between_two_accumulators_goes_where_torch_puts_it(tmp_path: Path) -> None:
    """gamma = 1, variance + eps = 1, integer means: every zero is exact, and sign(0) = +1."""
    norm = nn.BatchNorm2d(8, eps=0.0)
    norm.running_mean.copy_(torch.arange(8) * 2.0 - 8)
    net = chain(norm, method="bnn")
    x = example(4)
    _, session = write(net, tmp_path, x)
    with torch.no_grad():
        assert (norm(net[0](x)) == 0).any()
    check_bits(net, session, x)


def test_a_threshold_of_the_next_layer_is_folded_too(tmp_path: Path) -> None:
    net = chain(batch_norm("random", "random", "random"), method="react")
    nn.init.normal_(net[0].activation_binarizer.theta)
    nn.init.normal_(net[-1].activation_binarizer.theta)
    x = example()
    report, session = write(net, tmp_path, x)
    assert report.folded == 1
    check_bits(net, session, x)


def test_one_threshold_for_all_channels_is_folded_too(tmp_path: Path) -> None:
    net, x = chain(batch_norm("random", "random", "random"), method=abc_net(1, 1)), example()
    report, session = write(net, tmp_path, x)
    assert (report.folded, report.parity.ties) == (1, 0)
    with torch.no_grad():
        np.testing.assert_allclose(session.forward(x.numpy()), net(x).numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    "method",
    ["dorefa", "horq", "xnor_k", "bwn", abc_net(2, 1), abc_net(1, 2)],
    ids=["dorefa", "horq", "xnor_k", "bwn", "two bases", "two planes"],
)
@pytest.mark.parametrize("reads", [False, True])
def test_what_is_no_single_sign_of_a_single_sum_is_not_folded(
    method: str | Method, reads: bool, tmp_path: Path
) -> None:
    """The other layer is plain; bases of one that reads share its bits, so M bases with one plane may be folded into."""
    argument = {"second" if reads else "first": {"method": method}}
    net, x = chain(batch_norm("random", "random", "random"), **argument), example(1)
    report, session = write(net, tmp_path, x)
    one_plane = isinstance(method, Method) and len(net[-1].terms().operands()) == 1
    assert report.folded == (reads and one_plane)
    with torch.no_grad():
        np.testing.assert_allclose(session.forward(x.numpy()), net(x).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "between",
    [
        [],
        [nn.Identity()],
        [nn.Hardtanh()],
        [nn.ReLU6()],
        [nn.Dropout(0.5)],
        [nn.Hardtanh(-0.3, 0.2)],
    ],
    ids=str,
)
def test_what_else_is_folded(tmp_path: Path, between: list[nn.Module]) -> None:
    net = chain(batch_norm("random", "random", "random"), *between)
    x = example()
    report, session = write(net, tmp_path, x)
    assert report.folded == 1
    check_bits(net, session, x)


def test_linear_layers_fold(tmp_path: Path) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(12)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    net = nn.Sequential(
        nn.Flatten(), BinaryLinear(30, 12, method="xnor"), norm, BinaryLinear(12, 5, bias=True, method="xnor")
    ).eval()
    x = torch.randn(3, 3, 2, 5)
    report, session = write(net, tmp_path, x)
    assert (report.binary_layers, report.folded) == (2, 1)
    with torch.no_grad():
        bits = sign(net[2](net[1](net[0](x))))
    for image, expected in zip(x, bits):
        np.testing.assert_array_equal(session.values(image.numpy())["1"], expected.numpy().astype(np.int8))


class Branches(nn.Module):
    """conv -> bn -> conv, and somebody else reads `tap`."""

    def __init__(self, tap: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tap = tap
        self.first = BinaryConv2d(4, 8, 3, padding=1, method="xnor")
        self.bn = batch_norm("random", "random", "random")
        self.second = BinaryConv2d(8, 8, 3, padding=1, method="xnor")

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        z = self.bn(y)
        read = {"conv": y, "bn": z}[self.tap]
        return self.second(z) + read


@pytest.mark.parametrize("tap", ["conv", "bn"])
def test_what_is_read_twice_is_not_folded_and_stays_right(tmp_path: Path, tap: str) -> None:
    net, x = Branches(tap).eval(), example()
    report, session = write(net, tmp_path, x)
    assert report.folded == 0
    if report.parity.ties == 0:
        with torch.no_grad():
            np.testing.assert_allclose(session.forward(x.numpy()), net(x).numpy(), rtol=1e-4, atol=1e-5)


class Named(nn.Module):
    """A chain whose layers are called by the names of their arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = chain(batch_norm("random", "random", "random"), method="bnn")

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x=self.norm(input=self.first(x=x)))


def test_layers_called_by_name(tmp_path: Path) -> None:
    report, session = write(Named(), tmp_path, example())
    assert (report.binary_layers, report.folded) == (2, 1)
    by_position = chain(batch_norm("random", "random", "random"), method="bnn")
    np.testing.assert_array_equal(session.forward(example().numpy()), by_position(example()).detach().numpy())


class TwoConsumers(nn.Module):
    def __init__(self, method: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = BinaryConv2d(4, 8, 3, padding=1, method=method)
        self.bn = batch_norm("random", "random", "random")
        self.a = BinaryConv2d(8, 6, 3, padding=1, method=method)
        self.b = BinaryConv2d(8, 6, 3, padding=1, groups=2, method=method)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.bn(self.first(x))
        return [self.a(x), self.b(x)]


@pytest.mark.parametrize("method", ["xnor", "react"])
def test_two_binary_readers_of_one_batch_norm(tmp_path: Path, method: str) -> None:
    net, x = TwoConsumers(method).eval(), example()
    if method == "react":
        nn.init.normal_(net.a.activation_binarizer.theta)
    report, session = write(net, tmp_path, x)
    assert report.parity.ties == 0
    with torch.no_grad():
        for found, expected in zip(session.forward(x.numpy()), net(x), strict=True):
            np.testing.assert_allclose(found, expected.numpy(), rtol=1e-6)


class SharedConvolution(nn.Module):
    """One convolution, called for two branches with a BatchNorm each: a detector's tower."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.shared = BinaryConv2d(4, 8, 3, padding=1, method="xnor")
        self.norms = nn.ModuleList([batch_norm("random", "random", "zero"), batch_norm("negative", "zero", "random")])
        self.tail = BinaryConv2d(8, 4, 3, padding=1, method="xnor")

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.tail(norm(self.shared(x))) for norm in self.norms]


def test_a_shared_convolution_folds_once_for_every_call(tmp_path: Path) -> None:
    net, x = SharedConvolution().eval(), example()
    report, session = write(net, tmp_path, x)
    assert (report.binary_layers, report.folded) == (4, 2)
    assert report.parity.ties == 0
    with torch.no_grad():
        for found, expected in zip(session.forward(x.numpy()), net(x), strict=True):
            np.testing.assert_allclose(found, expected.numpy(), rtol=1e-6)
    assert report.tensor_bytes["1-bit weights"] == 8 * 5 + 4 * 9  # 8 rows of 36 bits and 4 of 72, each stored once
