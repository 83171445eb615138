"""FPN, towers, normalisation."""

import pytest
import torch
from torch import nn

from bnn_tasks.backbones import PlainUnit, ReActUnit, RealUnit
from bnn_tasks.models import FPN, Normalize, ResizeLike, RetinaNetHead
from bnn_tasks.models.retinanet_head import Tower

UNITS = pytest.mark.parametrize("unit", [ReActUnit, PlainUnit, RealUnit])


@UNITS
@pytest.mark.parametrize("extra_levels", [0, 1, 3])
def test_pyramid_shapes_with_odd_sizes(unit: type, extra_levels: int) -> None:
    maps = [torch.randn(2, c, *s) for c, s in ((4, (13, 9)), (6, (7, 5)), (8, (4, 3)))]
    neck = FPN([4, 6, 8], 5, unit, extra_levels)
    sizes = [(13, 9), (7, 5), (4, 3), (2, 2), (1, 1), (1, 1)][: 3 + extra_levels]
    assert [tuple(m.shape) for m in neck(maps)] == [(2, 5, *s) for s in sizes]
    assert neck.levels == len(sizes)


def test_a_level_adds_what_comes_from_above() -> None:
    neck = FPN([2, 3], 4, RealUnit).eval()
    maps = [torch.randn(1, 2, 5, 7), torch.randn(1, 3, 3, 4)]
    fine, coarse = (lateral(x) for lateral, x in zip(neck.laterals, maps))
    ys, xs = [0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2, 3]  # floor(i · small / large)
    assert ys == [i * 3 // 5 for i in range(5)]
    assert xs == [i * 4 // 7 for i in range(7)]
    expected = neck.outputs[0](fine + coarse[:, :, ys][:, :, :, xs])
    torch.testing.assert_close(neck(maps)[0], expected)
    torch.testing.assert_close(neck(maps)[1], neck.outputs[1](coarse))


def test_resize_takes_the_size_of_its_reference() -> None:
    y = ResizeLike()(torch.arange(6.0).view(1, 1, 2, 3), torch.zeros(1, 9, 4, 6))
    assert y[0, 0].tolist() == [[0, 0, 1, 1, 2, 2]] * 2 + [[3, 3, 4, 4, 5, 5]] * 2


@pytest.mark.parametrize(("channels", "size", "extra"), [([], 4, 0), ([4], 0, 0), ([4], 4, -1)])
def test_bad_pyramid(channels: list[int], size: int, extra: int) -> None:
    with pytest.raises(ValueError, match=r"Expected at least one backbone map"):
        FPN(channels, size, ReActUnit, extra)


@UNITS
def test_towers_share_convolutions_and_nothing_else(unit: type) -> None:
    tower = Tower(4, 2, 3, unit)
    first = tower.levels[0]
    for other in tower.levels[1:]:
        for index in range(2):
            assert other[index].conv is first[index].conv
            assert other[index].bn is not first[index].bn
    norms = {id(m) for m in tower.modules() if isinstance(m, nn.BatchNorm2d)}
    assert len(norms) == 6
    shared = {id(p) for p in first[0].conv.parameters()}
    for level in tower.levels[1:]:
        own = {id(p) for name, p in level.named_parameters() if ".conv." not in name}
        assert not own & {id(p) for p in first.parameters()}
        assert shared <= {id(p) for p in level.parameters()}


def test_levels_collect_their_own_statistics_and_train_one_convolution() -> None:
    torch.manual_seed(0)
    tower = Tower(4, 1, 2, RealUnit)
    pyramid = [torch.rand(2, 4, 6, 6), 5 + torch.rand(2, 4, 3, 3)]
    sum(y.square().sum() for y in tower(pyramid)).backward()
    means = [level[0].bn.running_mean for level in tower.levels]
    assert not torch.allclose(*means)
    assert tower.levels[0][0].conv.weight.grad.abs().sum() > 0
    assert len([n for n, _ in tower.named_parameters() if "conv" in n]) == 1


def test_sharing_survives_a_copy_and_a_state_dict() -> None:
    import copy

    tower = copy.deepcopy(Tower(4, 1, 2, ReActUnit))
    assert tower.levels[1][0].conv is tower.levels[0][0].conv
    other = Tower(4, 1, 2, ReActUnit)
    other.load_state_dict(tower.state_dict())
    assert other.levels[1][0].conv is other.levels[0][0].conv


def test_a_tower_of_depth_zero_is_nothing() -> None:
    head = RetinaNetHead(4, 2, 3, 2, depth=0)
    outputs = head([torch.rand(1, 4, 4, 4), torch.rand(1, 4, 2, 2)])
    assert [tuple(x.shape) for x in outputs["cls_logits"]] == [(1, 6, 4, 4), (1, 6, 2, 2)]


def test_normalize_is_torchvisions() -> None:
    from torchvision.transforms.v2.functional import normalize

    x = torch.rand(2, 3, 4, 4)
    expected = normalize(x, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    torch.testing.assert_close(Normalize()(x), expected)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([], [], "a value for every channel, but got 0 and 0"),
        ([0.5], [0.5, 0.5, 0.5], "a value for every channel, but got 1 and 3"),
        ([0.5, 0.5], [0.2, 0.0], "`std` > 0 and finite"),
        ([0.5], [-1.0], "`std` > 0 and finite"),
        ([0.5], [float("nan")], "`std` > 0 and finite"),
        ([0.5], [float("inf")], "`std` > 0 and finite"),
        ([float("nan")], [0.5], r"`mean` in \[0, 1\]"),
        ([123.7], [58.4], r"`mean` in \[0, 1\].*Cure: .*bytes over 255"),
    ],
)
def test_what_normalises_nothing_is_refused(mean: list[float], std: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Normalize(mean, std)


@pytest.mark.parametrize(("values", "channels"), [(1, 3), (3, 1), (3, 4)])
def test_images_of_other_channels_than_values(values: int, channels: int) -> None:
    net = Normalize([0.5] * values, [0.2] * values)
    message = rf"images of {values} channel\(s\), as many as `mean` and `std` .* got {channels}. Cure: .*`in_channels`"
    for graph in (net, torch.export.export(net, (torch.rand(2, values, 4, 4),)).module()):
        assert graph(torch.rand(2, values, 4, 4)).shape == (2, values, 4, 4)
    torch.testing.assert_close(
        torch.fx.symbolic_trace(net)(torch.full((1, values, 1, 1), 0.7)), torch.ones(1, values, 1, 1)
    )
    with pytest.raises(ValueError, match=message):
        net(torch.rand(2, channels, 4, 4))


def test_whole_numbers_normalise_as_real_ones() -> None:
    x = torch.rand(1, 3, 2, 2)
    assert torch.equal(Normalize([0, 0, 0], [1, 1, 1])(x), x)
    assert Normalize([0, 0, 0], [1, 1, 1]).mean.dtype == torch.float32
