"""Every float operation that can be exported against torch, and every one that cannot."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn_tasks.backbones import (
    BranchMean,
    BranchSum,
    ChannelGroupMean,
    ChannelPath,
    ChannelScale,
    DepthwisePath,
    Maxout,
    SoftGate,
)
from bnn_tasks.binary import BinaryConv2d, RPReLU, ShiftBatchNorm2d
from bnn_tasks.export import ExportError, export
from bnn_tasks.export.layers import MODULES
from bnn_tasks.models import BilinearLike, L2Norm, Normalize, PercentileClip, ResizeLike
from bnn_tasks.models.single_value_norm import SingleValueBatchNorm2d
from bnn_tasks.runtime import Session


class Function(nn.Module):
    """A module around a function of one map."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Resized(nn.Module):
    def __init__(self, resize: nn.Module) -> None:
        super().__init__()
        self.pool, self.resize = nn.MaxPool2d(3, 2), resize

    def forward(self, x: Tensor) -> Tensor:
        return self.resize(self.pool(x), x)


class Branches(nn.Module):
    """K maps that differ, joined."""

    def __init__(self, join: nn.Module, count: int) -> None:
        super().__init__()
        self.join = join
        self.branches = nn.ModuleList(nn.Hardtanh(-0.2 * k, 0.3 * k + 0.1) for k in range(count))

    def forward(self, x: Tensor) -> Tensor:
        return self.join(*[branch(x) for branch in self.branches])


class Twice(nn.Module):
    """One map, given twice."""

    def __init__(self, join: nn.Module) -> None:
        super().__init__()
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        return self.join(x, x)


def randomised(layer: nn.Module) -> nn.Module:
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


def batch_norm(size: int, kind: type = nn.BatchNorm2d, **arguments: object) -> nn.Module:
    norm = kind(size, **arguments)
    generator = torch.Generator().manual_seed(0)
    for parameter in norm.parameters():
        parameter.data.copy_(torch.randn(size, generator=generator))
    norm.running_mean.copy_(torch.randn(size, generator=generator))
    norm.running_var.copy_(torch.rand(size, generator=generator) + 0.1)
    return norm


def rprelu(size: int) -> nn.Module:
    return randomised(RPReLU(size))


def clipped(low: float, high: float) -> nn.Module:
    clip = PercentileClip()
    clip.low.fill_(low)
    clip.high.fill_(high)
    return clip


LAYERS = [
    nn.Conv2d(4, 6, 3, 2, 1, 2, 2),
    nn.Conv2d(4, 6, (1, 3), (1, 2), (0, 1), bias=False),
    nn.Sequential(nn.Flatten(), nn.Linear(4 * 9 * 11, 5)),
    nn.Sequential(nn.Flatten(), nn.Linear(4 * 9 * 11, 5, bias=False), batch_norm(5, nn.BatchNorm1d), nn.ReLU()),
    nn.Sequential(batch_norm(4, ShiftBatchNorm2d)),
    batch_norm(4),
    batch_norm(4, affine=False),
    batch_norm(4, SingleValueBatchNorm2d),
    randomised(DepthwisePath(4)),
    randomised(L2Norm(4)),
    clipped(-0.5, 0.25),
    nn.ReLU(),
    nn.ReLU6(),
    nn.Hardtanh(-0.5, 0.25),
    nn.PReLU(),
    nn.PReLU(4),
    nn.Sigmoid(),
    nn.MaxPool2d(3, 2, 1),
    nn.MaxPool2d((2, 3), (1, 2), dilation=2, ceil_mode=True),
    nn.AvgPool2d(2, 2, ceil_mode=True),
    nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    nn.AdaptiveAvgPool2d(1),
    nn.Sequential(nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(4, 3)),
    nn.Sequential(nn.Flatten(1, 3), nn.Linear(4 * 9 * 11, 2)),
    nn.Sequential(nn.Dropout(0.5), nn.Dropout2d(0.5), nn.Identity(), nn.ReLU()),
    Normalize((0.1, 0.2, 0.3, 0.4), (1.0, 2.0, 3.0, 4.0)),
    rprelu(4),
    randomised(Maxout(4)),
    randomised(ChannelScale(4)),
    ChannelGroupMean(4, 2),
    ChannelGroupMean(4, 1),
    nn.Sequential(ChannelPath(4, 2, 1), ChannelPath(2, 6, 2)),
    Branches(randomised(BranchMean(3)), 3),
    Branches(randomised(BranchSum(2)), 2),
    Branches(randomised(SoftGate()), 2),
    Twice(BranchMean(2)),
    Resized(ResizeLike()),
    Resized(BilinearLike()),
]
FUNCTIONS = {
    "F.relu": F.relu,
    "torch.relu": torch.relu,
    "x.relu": lambda x: x.relu(),
    "F.relu inplace": lambda x: F.relu(x + x, inplace=True),
    "F.relu6": F.relu6,
    "F.hardtanh": lambda x: F.hardtanh(x, -0.5, 0.25),
    "F.hardtanh by name": lambda x: F.hardtanh(x, min_val=-0.5, max_val=0.25),
    "torch.sigmoid": torch.sigmoid,
    "F.sigmoid": F.sigmoid,
    "x.sigmoid": lambda x: x.sigmoid(),
    "F.max_pool2d": lambda x: F.max_pool2d(x, 3, 2, 1),
    "F.avg_pool2d": lambda x: F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False),
    "F.adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, 1),
    "torch.flatten": lambda x: torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1),
    "x.flatten": lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1),
    "x.flatten by name": lambda x: x.flatten(start_dim=1),
    "F.dropout": lambda x: F.dropout(x, 0.5, training=False) + x,
    "x + x": lambda x: x + x,
    "torch.add": lambda x: torch.add(x, F.relu(x)),
    "x.add": lambda x: x.add(F.relu(x)),
    "x * x": lambda x: x * F.relu(x),
    "torch.mul": lambda x: torch.mul(x, F.relu(x)),
    "x.mul": lambda x: x.mul(F.relu(x)),
    "torch.cat": lambda x: torch.cat([x, F.relu(x)], 1),
    "torch.cat by name": lambda x: torch.cat([F.relu(x), x], dim=1),
    "torch.cat counted from the end": lambda x: torch.cat([x, F.relu(x)], dim=-3),
    "torch.cat all by name": lambda x: torch.cat(tensors=[x, F.relu(x)], dim=1),
    "torch.concat": lambda x: torch.concat([x, F.relu(x)], 1),
    "torch.concatenate": lambda x: torch.concatenate([x, F.relu(x)], dim=1),
    "torch.cat of one thing": lambda x: torch.cat([F.relu(x)], 1),
    "torch.cat of one thing twice": lambda x: torch.cat([x, x], 1),
    "dict": lambda x: {"a": [F.relu(x)], "b": (x + x, torch.sigmoid(x))},
}


def flat(value: object) -> list:
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in flat(value[key])]
    return [leaf for item in value for leaf in flat(item)] if isinstance(value, list | tuple) else [value]


def check(net: nn.Module, path: Path) -> None:
    x = torch.randn(2, 4, 9, 11, generator=torch.Generator().manual_seed(0))
    net = net.eval()
    export(net, path / "net.safetensors", example=x)
    found, expected = Session(path / "net.safetensors").forward(x.numpy()), net(x.clone())
    assert len(flat(found)) == len(flat(expected))
    for ours, theirs in zip(flat(found), flat(expected)):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: " ".join(str(layer).split())[:70])
def test_layer(layer: nn.Module, tmp_path: Path) -> None:
    torch.manual_seed(0)
    check(layer, tmp_path)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str, tmp_path: Path) -> None:
    check(Function(FUNCTIONS[name]), tmp_path)


def test_every_listed_layer_is_tried() -> None:
    tried = {type(module) for layer in LAYERS for module in layer.modules()}
    assert set(MODULES) <= tried


# --- what cannot be exported ---------------------------------------------------------------------------------------


class OwnsATensor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class DerivedConv2d(nn.Conv2d):
    pass


class DerivedBatchNorm2d(nn.BatchNorm2d):
    pass


def around(norm: nn.Module) -> nn.Module:
    first, second = (BinaryConv2d(4, 4, 3, padding=1, method="xnor") for _ in range(2))
    return nn.Sequential(first, norm, second)


def without_statistics(between: bool) -> nn.Module:
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    return around(norm) if between else nn.Sequential(norm)


REFUSED = {
    "layer": (nn.Sequential(nn.ReLU(), nn.Softmax2d()), r"'1' is a Softmax2d.*Supported: BinaryConv2d.*ReLU"),
    "nested layer": (nn.Sequential(nn.Sequential(nn.GELU())), r"'0\.0' is a GELU"),
    "function": (Function(torch.tanh), r"'tanh' calls"),
    "method": (Function(lambda x: x.mean((2, 3))), r"'mean' calls mean"),
    "constant": (Function(lambda x: x + 1), r"'add' calls"),
    "scaled sum": (Function(lambda x: torch.add(x, F.relu(x), alpha=2)), r"'add' calls"),
    "concatenation of rows": (Function(lambda x: torch.cat([x, x], 2)), r"'cat' calls"),
    "concatenation of images": (Function(lambda x: torch.cat([x, x])), r"'cat' calls"),
    "derived layer": (nn.Sequential(DerivedConv2d(4, 4, 1)), r"'0' is a DerivedConv2d"),
    "the same inside a fold": (around(DerivedBatchNorm2d(4)), r"'1' is a DerivedBatchNorm2d"),
    "live dropout": (Function(lambda x: F.dropout(x, 0.5, training=True)), r"dropout"),
    "untraceable": (Branching(), r"torch\.fx can trace, but Branching is not"),
    "two inputs": (TwoInputs(), r"takes one tensor"),
    "own tensor": (OwnsATensor(), r"forward reads 'scale'"),
    "batch norm without statistics": (without_statistics(False), r"'0' to have running statistics"),
    "without statistics inside a fold": (without_statistics(True), r"'1' to have running statistics"),
    "padding by name": (nn.Sequential(nn.Conv2d(4, 4, 3, padding="same")), r"'0' to pad with zeros.*padding='same'"),
    "padding mode": (nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")), r"padding_mode='reflect'"),
    "divisor": (nn.Sequential(nn.AvgPool2d(2, divisor_override=3)), r"'0'.*divisor_override"),
    "adaptive size": (nn.Sequential(nn.AdaptiveAvgPool2d(2)), r"'0' to pool to 1×1"),
    "flatten": (nn.Sequential(nn.Flatten(2)), r"'0' to flatten all but the batch"),
    "torch.flatten of the batch too": (Function(lambda x: torch.flatten(x)), r"'flatten' to flatten all but the batch"),
    "x.flatten of the batch too": (Function(lambda x: x.flatten()), r"'flatten' to flatten all but the batch"),
    "infinite clip": (nn.Sequential(nn.Hardtanh(0.0, float("inf"))), r"'0' to clip at finite values.*nn\.ReLU"),
    "infinite clip of a function": (
        Function(lambda x: F.hardtanh(x, -float("inf"), 1.0)),
        r"'hardtanh' to clip at finite values",
    ),
    "output": (Function(lambda x: [F.relu(x), 3]), r"return tensors in lists and dicts, but got int"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str, tmp_path: Path) -> None:
    net, message = REFUSED[name]
    with pytest.raises(ExportError, match=message):
        export(net, tmp_path / "net.safetensors", example=torch.randn(1, 4, 8, 8))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "example",
    [
        torch.rand(4, 8, 8),
        torch.rand(1, 4, 8, 8).double(),
        torch.zeros(1, 4, 8, 8, dtype=torch.uint8),
        torch.rand(0, 4, 8, 8),
    ],
    ids=["3-d", "double", "bytes", "empty"],
)
def test_a_wrong_example_is_refused(example: Tensor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected `example` to be a float32 batch"):
        export(nn.Sequential(nn.ReLU()), tmp_path / "net.safetensors", example=example)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_to_the_last_bit(tmp_path: Path, affine: bool) -> None:
    """Signs follow it, so rounding as torch rounds is worth its price: it keeps ties rare."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(64, affine=affine).eval()
    for tensor in norm.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.1, 3.0)
    x = 5 * torch.randn(1, 64, 30, 40)
    export(nn.Sequential(norm), tmp_path / "m.safetensors", example=x)
    found = Session(tmp_path / "m.safetensors").forward(x.numpy())
    np.testing.assert_array_equal(found, norm(x).detach().numpy())
