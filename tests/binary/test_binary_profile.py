import pytest
import torch
from torch import Tensor, nn

from bnn_tasks.backbones import PlainUnit, ReActUnit, RealUnit
from bnn_tasks.binary import (
    BinaryConv2d,
    BinaryLinear,
    Real,
    Threshold,
    binarize,
    list_methods,
    set_progress,
    tie_to_size,
)
from bnn_tasks.binary.profile import binary_share, format_table, profile
from bnn_tasks.models import RetinaNetHead


def by_name(rows: list) -> dict:
    return {row.name: row for row in rows}


def test_counts_of_a_small_net_by_hand() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),  # 8x10 -> 4x5
        nn.BatchNorm2d(4),
        BinaryConv2d(4, 6, 3, padding=1, groups=2, bias=True, method="xnor"),
        nn.Flatten(),
        BinaryLinear(6 * 4 * 5, 7, method="xnor"),
        nn.Linear(7, 2),
    )
    rows = by_name(profile(net, torch.rand(1, 3, 8, 10)))
    assert list(rows) == ["0", "1", "2", "4", "5"]
    counts = {n: (r.binary_params, r.real_params, r.bops, r.flops, r.bytes) for n, r in rows.items()}
    assert counts["0"] == (0, 4 * 27 + 4, 0, 20 * 4 * 27, 4 * 112)
    assert counts["1"] == (0, 8, 0, 0, 32)
    assert counts["2"] == (6 * 18, 12, 20 * 6 * 18, 0, 14 + 48)  # 108 bits are 13.5 bytes; scales and biases
    assert counts["4"] == (840, 7, 840, 0, 105 + 28)
    assert counts["5"] == (0, 16, 0, 14, 64)
    assert binary_share(list(rows.values())) == pytest.approx((2160 + 840) / (2160 + 840 + 2160 + 14))


# bits, 32-bit numbers, BOPs, FLOPs of 8 filters over 4 channels, 3×3, at 5×5 outputs: 288 weights, 7200 products
COSTS = {
    "bnn": (288, 0, 7200, 0),
    "bireal": (288, 8, 7200, 0),
    "react": (288, 8 + 4, 7200, 0),
    "rbnn": (288, 8, 7200, 0),  # the rotations are spent on the signs
    "xnor_k": (288, 8, 7200, 0),
    "self_binarizing": (288, 0, 7200, 0),
    "binary_connect": (288, 0, 0, 7200),
    "bwn": (288, 8, 0, 7200),
    "abc_net": (3 * 288, 9 * 8 + 3, 9 * 7200, 0),
    "horq": (288, 2 * 8, 2 * 7200, 0),
    "dorefa": (288, 2 * 8 + 1, 2 * 7200, 0),
    "adabin": (288, 4 * 8 + 1, 4 * 7200, 0),  # the basis of ones is computed, but holds nothing
    "cbcn": (288 // 4, 8, 7200, 0),
}


@pytest.mark.parametrize("method", COSTS)
def test_what_a_layer_of_a_method_costs(method: str) -> None:
    torch.manual_seed(0)
    layer = BinaryConv2d(4, 8, 3, padding=1, method=method)
    (row,) = profile(nn.Sequential(layer), torch.rand(1, 4, 5, 5))
    assert (row.binary_params, row.real_params, row.bops, row.flops) == COSTS[method]


@pytest.mark.parametrize("method", list_methods())
def test_the_count_is_that_of_the_layers_terms(method: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(BinaryConv2d(4, 8, 3, 2, 1, groups=2, bias=True, method=method))
    tie_to_size(net, torch.rand(1, 4, 7, 7))
    (early,) = profile(net, torch.rand(1, 4, 7, 7))
    set_progress(net, 1.0)
    (row,) = profile(net, torch.rand(1, 4, 7, 7))
    terms = net[0].terms()
    numbers = sum(term.scale.numel() for term in terms.terms if term.scale is not None) + 8
    for operand in terms.operands():
        if isinstance(operand, Threshold) and operand.threshold is not None:
            numbers += operand.threshold.numel()
    assert row.real_params == numbers
    assert row.bops + row.flops == 16 * sum(term.weight.numel() for term in terms.terms)
    assert bool(row.flops) == any(isinstance(operand, Real) for operand in terms.operands())
    assert (early.bops, early.flops) == (row.bops, row.flops)


def test_bireal_resnet18_has_the_published_cost() -> None:
    """1.63e8 OPs and 33.6 Mbit, of the real net 1.81e9 and 374.1 Mbit (Liu et al., Bi-Real Net, 2018, table 3)."""
    import timm

    import bnn_tasks.backbones  # noqa: F401

    rows = profile(timm.create_model("bnn_resnet18", block="bireal"), torch.rand(1, 3, 224, 224))
    bops, flops = sum(row.bops for row in rows), sum(row.flops for row in rows)
    first, later = 56 * 56 * 64 * 576, 3 * (28 * 28 * 128 * 576 + 3 * 28 * 28 * 128 * 1152)
    assert bops == 4 * first + later == 1_676_279_808
    classifier, shortcuts = 512 * 1000, 3 * 28 * 28 * 64 * 128
    assert flops == 112 * 112 * 64 * 147 + shortcuts + classifier == 137_793_536
    assert flops + bops / 64 == 163_985_408
    # The published number is ours without the classifier (or cut after the third digit).
    assert f"{flops + bops / 64 - classifier:.2e}" == "1.63e+08"
    assert bops + flops == 1_814_073_344
    bits = sum(row.binary_params + 32 * row.real_params for row in rows)
    assert bits == 33_637_632
    assert 8 * sum(row.bytes for row in rows) == bits
    assert binary_share(rows) == pytest.approx(0.924, abs=5e-4)


def test_resnet18_has_the_known_number_of_multiply_accumulates() -> None:
    import torchvision

    net = torchvision.models.resnet18()
    rows = profile(net, torch.rand(1, 3, 224, 224))
    # 1.81 G (He et al., 2016, table 1: 1.8e9; torchvision's documentation of the weights: 1.814 GFLOPS)
    assert sum(row.flops for row in rows) == 1_814_073_344
    assert sum(row.real_params for row in rows) == 11_689_512


def test_our_resnet18_and_its_binary_share() -> None:
    import timm

    import bnn_tasks.backbones  # noqa: F401

    net = timm.create_model("bnn_resnet18", width=64, stem_kernel=7)
    rows = profile(net, torch.rand(1, 3, 224, 224))
    stem = 112 * 112 * 64 * 147
    shortcuts = 28 * 28 * 64 * 128 + 14 * 14 * 128 * 256 + 7 * 7 * 256 * 512
    classifier = 512 * 1000
    assert sum(row.flops for row in rows) == stem + shortcuts + classifier
    assert sum(row.flops + row.bops for row in rows) == 1_814_073_344
    assert binary_share(rows) == pytest.approx(1 - (stem + shortcuts + classifier) / 1_814_073_344)
    blocks = [row for row in rows if ".layer" in row.name]
    assert sum(row.binary_params for row in rows) == sum(row.binary_params for row in blocks) == 10_985_472


@pytest.mark.parametrize("unit", [PlainUnit, ReActUnit, RealUnit])
def test_a_shared_head_counts_its_weights_once_and_its_work_at_every_level(unit: type) -> None:
    sizes = [(8, 8), (4, 4), (2, 2)]

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = RetinaNetHead(4, 3, 3, 2, depth=2, unit=unit)

        def forward(self, x: Tensor) -> dict[str, list[Tensor]]:
            return self.head([x[:, :, :h, :w] for h, w in sizes])

    net = Head()
    rows = profile(net, torch.rand(1, 4, 8, 8))
    positions = sum(h * w for h, w in sizes)
    tower = 2 * 2 * 4 * 4 * 9
    outputs = 4 * 9 * (6 + 12)
    assert sum(row.bops + row.flops for row in rows) == positions * (tower + outputs)
    assert sum(row.binary_params for row in rows) == (0 if unit is RealUnit else tower)
    scales = sum(layer.out_channels for layer in net.modules() if isinstance(layer, BinaryConv2d))
    parameters = sum(p.numel() for p in net.parameters())
    assert sum(row.binary_params + row.real_params for row in rows) == parameters + scales
    convolutions = [row for row in rows if row.kind.endswith("Conv2d")]
    assert len(convolutions) == 6


def test_a_binarised_net_moves_its_operations() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
    before = profile(net, torch.rand(1, 3, 12, 12))
    after = profile(binarize(net, "bnn", keep=["0"]), torch.rand(1, 3, 12, 12))
    assert [row.flops + row.bops for row in before] == [row.flops + row.bops for row in after]
    assert sum(row.bops for row in after) == 8 * 8 * 8 * 72


def test_profiling_leaves_the_module_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4)))
    net[2].eval()
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    profile(net, torch.rand(1, 3, 4, 4))
    assert net.training
    assert net[1].training
    assert not net[2].training
    assert not any(m._forward_hooks for m in net.modules())
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())


def test_hooks_are_removed_after_an_error() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1))
    with pytest.raises(RuntimeError):
        profile(net, torch.rand(1, 5, 4, 4))
    assert not net[0]._forward_hooks
    assert net.training


def test_table_totals() -> None:
    net = nn.Sequential()
    net.add_module("body", nn.Sequential(BinaryConv2d(64, 64, 1, method="bnn")))
    net.add_module("head", nn.Sequential(nn.Conv2d(64, 1, 1, bias=False)))
    text = format_table(profile(net, torch.rand(1, 64, 2, 2)))
    assert "body.0" in text
    assert f"OPs = FLOPs + BOPs/64 = {4 * 64 + 4 * 64:,}" in text
    assert f"{4 * (4096 + 64):,} bytes" in text
    assert "all 98.5%, body 100.0%, head 0.0%" in text
