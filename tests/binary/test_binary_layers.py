import pytest
import torch

from bnn_tasks.binary import BinaryConv2d, BinaryLinear


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 0}, "Expected `kernel_size`.*>= 1, but got 0"),
        ({"kernel_size": (3, 3, 3)}, "Expected `kernel_size`"),
        ({"kernel_size": (3, 0.5)}, "Expected `kernel_size`"),
        ({"stride": 0}, "Expected `stride`.*but got 0"),
        ({"padding": -1}, "Expected `padding`.*>= 0, but got -1"),
        ({"padding": (1, "1")}, "Expected `padding`"),
        ({"dilation": (1, 0)}, "Expected `dilation`"),
        ({"groups": 3}, "Expected `groups` to divide.*groups=3"),
        ({"groups": 0}, "Expected `groups` to divide"),
        ({"in_channels": 0}, "in_channels=0"),
        ({"out_channels": 0}, "out_channels=0"),
        ({"pad_value": 2}, r"Expected `pad_value` to be one of \(0, 1, -1\), but got 2"),
        ({"method": "none"}, "Expected `method` to be one of"),
        ({"kernel_size": "3"}, "Expected `kernel_size`.*but got '3'"),
        ({"kernel_size": None}, "Expected `kernel_size`.*but got None"),
        ({"stride": 1.5}, "Expected `stride`.*but got 1.5"),
        ({"in_channels": 4.0}, "in_channels=4.0"),
        ({"out_channels": "4"}, "out_channels='4'"),
    ],
)
def test_convolution_refuses(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BinaryConv2d(**{"in_channels": 4, "out_channels": 4, "kernel_size": 3, **arguments})


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (-1, 3), ("3", 3), (3, 2.5)])
def test_linear_refuses(sizes: tuple) -> None:
    with pytest.raises(ValueError, match=r"Expected feature counts >= 1"):
        BinaryLinear(*sizes)


@pytest.mark.parametrize("geometry", [(3, 2, 1, 1, 1), ((5, 3), (1, 2), (0, 2), 1, 2), (3, 1, 0, (2, 1), 4)])
def test_shape_is_torchs(geometry: tuple) -> None:
    x = torch.randn(2, 4, 13, 11)
    ours, theirs = BinaryConv2d(4, 8, *geometry), torch.nn.Conv2d(4, 8, *geometry)
    assert ours(x).shape == theirs(x).shape
    assert ours.weight.shape == theirs.weight.shape


def test_sums_before_the_scale_are_integers_of_the_right_parity() -> None:
    layer = BinaryConv2d(7, 3, 3, method="bnn")
    y = layer(torch.randn(2, 7, 6, 6))
    assert torch.equal(y, y.round())
    assert (y.int() % 2 == 63 % 2).all()


def test_pad_value_counts_as_that_bit() -> None:
    x = torch.ones(1, 1, 3, 3)
    for pad_value, corner in ((0, 4), (1, 9), (-1, 4 - 5)):
        layer = BinaryConv2d(1, 1, 3, padding=1, pad_value=pad_value, method="bnn")
        layer.weight.data.fill_(1)
        assert float(layer(x)[0, 0, 0, 0].detach()) == corner
        with torch.no_grad():
            assert float(layer(x)[0, 0, 0, 0]) == corner


def test_weights_start_inside_the_window_of_the_clipped_estimator() -> None:
    layer = BinaryConv2d(2, 2, 1)
    assert float(layer.weight.detach().abs().max()) <= (6 / 4) ** 0.5  # Glorot's bound: sqrt(6 / (fan_in + fan_out))
    assert float(layer.weight.detach().std()) > 0


def test_layers_describe_themselves() -> None:
    text = str(BinaryConv2d(4, 8, 3, stride=2, padding=1, groups=2, pad_value=-1, method="xnor"))
    for part in ("4, 8", "kernel_size=(3, 3)", "stride=(2, 2)", "groups=2", "pad_value=-1", "method=xnor"):
        assert part in text
    assert "4, 8, method=bnn" in str(BinaryLinear(4, 8, method="bnn"))


def test_a_linear_layer_of_many_rows() -> None:
    layer = BinaryLinear(6, 5, bias=True, method="react")
    torch.nn.init.normal_(layer.activation_binarizer.theta)
    x = torch.randn(2, 6, 6)
    rows = torch.stack([layer(part) for part in x])
    torch.testing.assert_close(layer(x), rows)
