"""What export() promises besides equal numbers: no file without proof, an untouched module, an honest report."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import retinanet, shake
from torch import nn

from bnn_tasks.binary import BinaryConv2d, BinaryLinear
from bnn_tasks.export import ExportError, ParityError, export
from bnn_tasks.export.rounding import output_error
from bnn_tasks.runtime import Resize, Session

X = torch.rand(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5


def small(bias: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        BinaryConv2d(4, 8, 3, padding=1, method="xnor"),
        nn.BatchNorm2d(8),
        nn.PReLU(),
        BinaryConv2d(8, 8, 3, padding=1, groups=2, bias=bias, method="react"),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    )


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        ("0.weight", r"accumulators of '0'"),
        ("3.weight", r"accumulators of '3'"),
        ("1.shift", r"signs before '3'.*distance"),
        ("3.sign.threshold", r"signs before '3'.*distance"),
        ("0.scale", r"signs before '3'"),
        ("3.scale", r"raw outputs"),
        ("6.bias", r"raw outputs"),
    ],
)
def test_a_wrong_tensor_is_found_and_no_file_is_left(
    tensor: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bnn_tasks.export import writer

    real_save = writer.save

    def save(path: Path, graph: object, tensors: dict[str, np.ndarray]) -> object:
        spoilt = {name: array.copy() for name, array in tensors.items()}
        if spoilt[tensor].dtype == np.uint8:
            spoilt[tensor][0, 0] ^= 1
        else:
            spoilt[tensor] += 0.2
        return real_save(path, graph, spoilt)

    monkeypatch.setattr(writer, "save", save)
    with pytest.raises(ParityError, match=message):
        export(shake(small()), tmp_path / "net.safetensors", example=X)
    assert list(tmp_path.iterdir()) == []


ONE_VALUE = {"a vector": [nn.Flatten(), nn.Linear(32, 1)], "a map": [nn.Conv2d(32, 1, 1)]}


@pytest.mark.parametrize("end", ONE_VALUE)
def test_one_output_is_compared_by_its_magnitude(end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no standard deviation, and what is summed in another order differs in the last bits."""
    from bnn_tasks.export import writer

    for seed in range(5):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Conv2d(4, 32, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), *copy.deepcopy(ONE_VALUE[end]))
        net[-1].reset_parameters()
        report = export(net, tmp_path / "net.safetensors", example=torch.rand(2, 4, 16, 16))
        assert report.parity.output_error <= 1e-3
    real_save, bias = writer.save, f"{len(net) - 1}.bias"
    wrong = 0.002 * net(X).abs().max().item()
    monkeypatch.setattr(
        writer, "save", lambda path, graph, t: real_save(path, graph, t | {bias: t[bias] + np.float32(wrong)})
    )
    with pytest.raises(ParityError, match=r"raw outputs"):
        export(net, tmp_path / "net.safetensors", example=X)


@pytest.mark.parametrize(
    ("want", "rounding", "fault"),
    [
        ([0.2], 1e-7, 1e-3),
        ([3e-6], 1e-8, 2e-6),
        ([-4.6, -4.6, -4.6], 1e-6, 1e-3),
        ([1000.0, 1000.1, 999.9], 2e-4, 0.02),
        ([1.0, 0.0, -1.0], 5e-4, 2e-3),
    ],
    ids=["one value", "one that cancels", "a constant", "far from 0", "values that differ"],
)
def test_what_is_rounding_and_what_is_not(want: list[float], rounding: float, fault: float) -> None:
    expected = torch.tensor(want)
    found = expected.clone()
    found[0] += rounding
    assert output_error(expected, found) <= 1e-3
    found[0] = expected[0] + fault
    with pytest.raises(ParityError):
        output_error(expected, found)


def test_a_failure_keeps_the_file_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bnn_tasks.export import writer

    export(small(), tmp_path / "net.safetensors", example=X)
    before = (tmp_path / "net.safetensors").read_bytes()

    def fail(*args: object) -> None:
        raise ParityError("no")

    monkeypatch.setattr(writer, "verify", fail)
    with pytest.raises(ParityError):
        export(shake(small()), tmp_path / "net.safetensors", example=X)
    assert (tmp_path / "net.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


def test_outputs_that_are_no_numbers_prove_nothing(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(4, 2, 1), nn.Conv2d(2, 2, 1))
    for layer in net:
        nn.init.constant_(layer.weight, 3e38)
    assert not torch.isfinite(net(X)).all()
    with pytest.raises(ParityError, match=r"finite"):
        export(net, tmp_path / "net.safetensors", example=X)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_parameter_that_is_no_number_is_named(value: float, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(4, 2, 1))
    net[0].bias.data.fill_(value)
    with pytest.raises(ValueError, match=r"`0\.bias` to hold finite numbers"):
        export(net, tmp_path / "net.safetensors", example=X)
    assert list(tmp_path.iterdir()) == []


def test_a_sign_of_no_number_is_an_error(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), BinaryConv2d(4, 4, 1, method="bnn"))
    nn.init.constant_(net[0].weight, 3e38)
    with torch.no_grad():
        net[1].weight[:, ::2], net[1].weight[:, 1::2] = 1, -1
        assert net[1](net[0](torch.ones_like(X))).isnan().all()
    with pytest.raises(ValueError, match=r"NaN"):
        export(net, tmp_path / "net.safetensors", example=torch.ones_like(X))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("training", [True, False])
def test_the_module_is_not_changed(training: bool, tmp_path: Path) -> None:
    net = small().train(training).double()
    net[1].eval()
    before = copy.deepcopy(net.state_dict())
    export(net, tmp_path / "net.safetensors", example=X)
    assert net.training is training
    assert not net[1].training
    assert not [m for m in net.modules() if m._forward_hooks or m._forward_pre_hooks]
    for name, tensor in net.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name]), name
    assert all(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_exported_as_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    net = small().to(dtype)
    export(net, tmp_path / "net.safetensors", example=X)
    with torch.no_grad():  # sums of ±1 in exact integers, as in the artifact
        expected = copy.deepcopy(net).float().eval()(X).numpy()
    np.testing.assert_allclose(Session(tmp_path / "net.safetensors").forward(X.numpy()), expected, rtol=1e-4, atol=1e-6)


def test_the_report_adds_up(tmp_path: Path) -> None:
    net = small()
    report = export(net, tmp_path / "net.safetensors", example=X)
    assert report.path == tmp_path / "net.safetensors"
    assert report.file_bytes == report.path.stat().st_size
    assert report.float_bytes == 4 * sum(t.numel() for t in net.state_dict().values())
    assert report.tensor_bytes["1-bit weights"] == 8 * 5 + 8 * 5  # 36 bits a row are 5 bytes
    assert report.tensor_bytes["32-bit weights"] == 4 * 16
    assert report.binary_layers == 2
    assert report.parity.bits == 4 * 64 + 8 * 64
    assert report.parity.accumulators == 2 * 8 * 64
    text = str(report)
    assert f"{report.file_bytes:,} bytes" in text
    assert f"{report.parity.ties} differ, all rounding ties" in text


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 3, 3),
        nn.PReLU(4),
        BinaryConv2d(4, 3, 3, bias=True, method="react"),
        nn.Sequential(nn.Flatten(), BinaryLinear(256, 3, method="xnor")),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_single_layer(layer: nn.Module, tmp_path: Path) -> None:
    export(layer, tmp_path / "net.safetensors", example=X)
    found = Session(tmp_path / "net.safetensors").forward(X.numpy())
    np.testing.assert_allclose(found, layer(X).detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variance", [-1.0, float("nan")])
@pytest.mark.filterwarnings("error")
def test_a_batch_norm_without_a_variance_is_named(variance: float, tmp_path: Path) -> None:
    net = shake(small())
    net[1].running_var[2] = variance
    with pytest.raises(ExportError, match=r"Expected '1' to have variances >= 0.*Cure: an earlier checkpoint"):
        export(net, tmp_path / "net.safetensors", example=X)
    assert list(tmp_path.iterdir()) == []


def test_an_example_with_other_channels_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"channels"):
        export(small(), tmp_path / "net.safetensors", example=torch.rand(1, 3, 8, 8))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Cure: make the folder"):
        export(small(), tmp_path / "nowhere" / "net.safetensors", example=X)


def test_a_folder_in_the_place_of_the_file_is_told_first(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"a file to write, but '{tmp_path}' is a folder\. Cure: name a file in it"):
        export(nn.Sequential(nn.GELU()), tmp_path, example=X)
    assert list(tmp_path.iterdir()) == []


def test_a_detector_needs_as_many_names_as_classes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"class"):
        export(
            shake(retinanet(3)),
            tmp_path / "net.safetensors",
            example=torch.rand(1, 3, 64, 64),
            classes=["only"],
            resize=Resize(((64, 64),)),
        )
    assert list(tmp_path.iterdir()) == []


def test_parity_errors_are_export_errors() -> None:
    assert issubclass(ParityError, ExportError)
    assert issubclass(ExportError, ValueError)
