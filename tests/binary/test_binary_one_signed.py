"""What binarize() knows of signs: inputs that are refused, ReLUs that are skipped, and what only looks one-signed."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from test_binary_convert import Net, record, target_input
from torch import Tensor, nn

from bnn_tasks.binary import binarize

ONE_SIGNED: dict[str, object] = {
    "sigmoid method": lambda y: y.sigmoid(),
    "abs method": lambda y: y.abs(),
    "abs builtin": lambda y: abs(y),
    "exp method": lambda y: y.exp(),
    "softmax method": lambda y: y.softmax(1),
    "clamp min": lambda y: y.clamp(min=0),
    "clamp in place": lambda y: y.clamp_(min=0),
    "clamp_min": lambda y: y.clamp_min(0.5),
    "torch.clamp": lambda y: torch.clamp(y, 0, 6),
    "torch.clip": lambda y: torch.clip(y, min=0.1),
    "clamp to a tensor": lambda y: torch.clamp(y, F.relu(y)),
    "clamp of a ReLU": lambda y: F.relu(y).clamp(max=3),
    "hardtanh": lambda y: F.hardtanh(y, 0, 6),
    "Hardtanh": nn.Hardtanh(0, 6),
    "threshold": lambda y: F.threshold(y, 0.1, 0.0),
    "Threshold": nn.Threshold(0, 0),
    "y * y": lambda y: y * y,
    "torch.mul": lambda y: torch.mul(y, y),
    "y ** 2": lambda y: y**2,
    "pow": lambda y: torch.pow(y, 4.0),
    "pow method": lambda y: y.pow(2),
    "root": lambda y: F.relu(y) ** 0.5,
    "max with zero": lambda y: torch.max(y, torch.zeros(1)),
    "maximum": lambda y: torch.maximum(y, y.abs()),
    "max method": lambda y: y.abs().max(y),
    "minimum of two": lambda y: torch.minimum(y.abs(), y.sigmoid()),
    "largest": lambda y: F.relu(y).max(1, keepdim=True)[0].expand(-1, 4, -1, -1),
    "where": lambda y: torch.where(y > 1, y.abs(), y.sigmoid()),
    "gate": lambda y: y.abs() * y.sigmoid(),
    "quotient": lambda y: y.abs() / 2,
    "sum of two": lambda y: y.abs() + y.sigmoid() + 1,
    "torch.add": lambda y: torch.add(y.abs(), y.sigmoid(), alpha=2),
    "add method": lambda y: y.abs().add(y.sigmoid()),
    "mean method": lambda y: F.relu(y).mean((2, 3), keepdim=True).expand(-1, -1, 4, 4),
    "bilinear": lambda y: F.interpolate(F.relu(y), scale_factor=2, mode="bilinear"),
    "Upsample bilinear": nn.Sequential(nn.ReLU(), nn.Upsample(scale_factor=2, mode="bilinear")),
    "nearest of a sigmoid": lambda y: F.interpolate(y.sigmoid(), scale_factor=2),
    "padded": lambda y: F.pad(y.abs(), (1, 1, 1, 1)),
    "chunks": lambda y: torch.cat(y.abs().chunk(2, 1), 1),
    "reshaped": lambda y: y.abs().view(y.size(0), 4, -1, 4).contiguous(),
}
# What is done to a ReLU's output, and commutes with it.
COMMUTES: dict[str, Callable[[Tensor], Tensor]] = {
    "view": lambda y: y.view(y.shape[0], 4, 4, 16),
    "reshape": lambda y: y.reshape(-1, 4, 16, 4),
    "torch.reshape": lambda y: torch.reshape(y, (-1, 4, 16, 4)),
    "flatten and unflatten": lambda y: y.flatten(1).unflatten(1, (4, 8, 8)),
    "permute": lambda y: y.permute(0, 1, 3, 2).contiguous(),
    "transpose": lambda y: y.transpose(2, 3),
    "squeeze": lambda y: y.unsqueeze(1).squeeze(1),
    "chunk": lambda y: torch.cat(y.chunk(2, 1), 1),
    "slice": lambda y: y[:, :, ::2],
    "dropout2d": lambda y: F.dropout2d(y, training=False),
    "nearest": lambda y: F.interpolate(y, scale_factor=2),
    "Upsample": nn.Upsample(scale_factor=2),
    "pad": lambda y: F.pad(y, (1, 1, 1, 1)),
    "ZeroPad2d": nn.ZeroPad2d(1),
    "adaptive max pool": lambda y: F.adaptive_max_pool2d(y, 7),
}
SIGNED: dict[str, Callable[[Tensor], Tensor]] = {
    "difference by alpha": lambda y: torch.add(F.relu(y), F.relu(-y), alpha=-1),
    "difference": lambda y: F.relu(y) - F.relu(-y),
    "clamp from below zero": lambda y: y.clamp(-1, 1),
    "clamp to below zero": lambda y: F.relu(y).clamp(max=-0.1) + y,
    "Hardtanh": nn.Hardtanh(),
    "threshold": lambda y: F.threshold(y, 0.0, -0.5),
    "cube": lambda y: y**3,
    "product with itself shifted": lambda y: y * (y + 0.1),
    "min with zero": lambda y: torch.minimum(y, y.abs()),
    "max of two": lambda y: torch.max(y, y - 1),
    "bicubic": lambda y: F.interpolate(F.relu(y), scale_factor=2, mode="bicubic"),
    "padded with -1": lambda y: F.pad(F.relu(y), (1, 1, 1, 1), value=-1.0),
    "negated": lambda y: -F.relu(y),
    "quotient": lambda y: F.relu(y) / -2,
    "GELU": nn.GELU(),
}


@pytest.mark.parametrize("between", ONE_SIGNED.values(), ids=ONE_SIGNED)
def test_what_never_is_negative_is_refused(between: object) -> None:
    net = Net(between)
    inputs, _ = record(net)
    net(torch.randn(2, 3, 8, 8))
    assert (inputs["target"] >= 0).all()
    with pytest.raises(ValueError, match=r"input of 'target' to have both signs.*never negative"):
        binarize(net, "xnor", keep=["stem"])


@pytest.mark.parametrize("between", COMMUTES.values(), ids=COMMUTES)
def test_a_relu_before_what_commutes_with_it_is_skipped(between: Callable[[Tensor], Tensor]) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.after = between if isinstance(between, nn.Module) else None

        def forward(self, y: Tensor) -> Tensor:
            y = F.relu(y)
            return between(y) if self.after is None else self.after(y)

    seen, normed = target_input(Net(Block()))
    assert torch.equal(seen, between(normed))
    assert (seen < 0).any()


@pytest.mark.parametrize("between", SIGNED.values(), ids=SIGNED)
def test_what_has_both_signs_is_left_alone(between: Callable[[Tensor], Tensor]) -> None:
    seen, normed = target_input(Net(between))
    assert torch.equal(seen, between(normed))
    assert (seen < 0).any()
    assert (seen >= 0).any()


def test_a_parameter_that_is_positive_now_may_become_negative() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, y: Tensor) -> Tensor:
            return self.scale * y.abs()

    binarize(Net(Scaled()), "xnor", keep=["stem"])


def test_dropout_in_place_does_not_reach_the_sign() -> None:
    between = nn.Sequential(nn.ReLU(inplace=True), nn.Dropout2d(0.0, inplace=True))
    seen, normed = target_input(Net(between))
    assert torch.equal(seen, normed)


def test_a_layer_that_the_method_cannot_serve_is_named() -> None:
    net = nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1))
    with pytest.raises(ValueError, match=r"^3: Expected 3×3 convolutions.*To keep it real, add '3' to `keep`\.$"):
        binarize(net, "cbcn", keep=[])
    assert binarize(net, "cbcn", keep=["3"]).get_submodule("1").method_name == "cbcn"
