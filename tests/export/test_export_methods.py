"""Every registered method, and every combination of its parts, from layer to artifact: equal sums, equal outputs."""

import itertools
from pathlib import Path

import naive
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bnn_tasks.binary import (
    BinaryConv2d,
    BinaryLinear,
    Method,
    Real,
    Residual,
    abc_net,
    get_method,
    horq,
    list_methods,
    set_progress,
    tie_to_size,
)
from bnn_tasks.binary.activations import AffineSign, RealActivation, ResidualPlanes, ShiftedBases, SignActivation
from bnn_tasks.binary.estimators import ApproxSign, ClippedSTE
from bnn_tasks.binary.scales import FullScale, OutputScale, WindowMean
from bnn_tasks.binary.weights import AffineWeight, LeastSquaresBases, SignWeight
from bnn_tasks.export import ExportError, ExportReport, export
from bnn_tasks.export.trace import GraphWriter
from bnn_tasks.runtime import ArtifactError, Resize, Session

TIED = {method for method in list_methods() if get_method(method).spatially_tied}
WEIGHTS_ONLY = {method for method in list_methods() if not get_method(method).binary_activations}
SIZE = (9, 10)
X = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def ready(net: nn.Module, example: Tensor) -> nn.Module:
    """A net at the end of its training, with learned parts that are not what they start at."""
    set_progress(net, 1.0)
    tie_to_size(net, example[:1])
    generator = torch.Generator().manual_seed(2)
    for module in net.modules():
        if isinstance(module, BinaryConv2d | BinaryLinear):
            learned = [*module.activation_binarizer.parameters(), *module.output_scale.parameters()]
            learned += [] if module.bias is None else [module.bias]
            for parameter in learned:
                parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.weight.data = torch.randn(module.weight.shape, generator=generator)
            module.bias.data = 0.3 * torch.randn(module.bias.shape, generator=generator)
    return net.eval()


def two_blocks(method: str | Method) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)]
    for outputs, stride in ((8, 1), (12, 2)):
        layers += [] if get_method(method).binary_activations else [nn.ReLU()]
        layers.append(BinaryConv2d(8, outputs, 3, stride, padding=1, bias=outputs == 12, method=method))
        layers.append(nn.BatchNorm2d(outputs))
    return nn.Sequential(*layers)


def write(net: nn.Module, folder: Path, x: Tensor, **arguments: object) -> tuple[ExportReport, Session]:
    report = export(net, folder / "net.safetensors", example=x, **arguments)
    return report, Session(folder / "net.safetensors")


@torch.no_grad()
def check(net: nn.Module, folder: Path, x: Tensor) -> tuple[ExportReport, Session]:
    """Export, and compare end to end what verify compared given the same bits."""
    report, session = write(net, folder, x)
    expected = net(x).numpy()
    assert report.parity.ties == 0
    np.testing.assert_allclose(session.forward(x.numpy()), expected, rtol=1e-4, atol=2e-5 * expected.std())
    return report, session


def layers_of(net: nn.Module) -> list[BinaryConv2d | BinaryLinear]:
    return [module for module in net.modules() if isinstance(module, BinaryConv2d | BinaryLinear)]


@pytest.mark.parametrize("method", list_methods())
def test_two_blocks_of_every_method(method: str, tmp_path: Path) -> None:
    net = ready(two_blocks(method), X)
    report, _ = check(net, tmp_path, X)
    terms = [layer.terms() for layer in layers_of(net)]
    pixels = (9 * 10, 5 * 5)
    integer = [[t for t in layer.terms if not isinstance(t.activation, Real)] for layer in terms]
    sums = sum(len(t) * outputs * count for t, outputs, count in zip(integer, (8, 12), pixels))
    assert report.parity.accumulators == 2 * sums
    assert report.binary_layers == 2
    bases = [len({id(term.weight) for term in layer.terms}) for layer in terms]
    assert report.tensor_bytes["1-bit weights"] == (8 * bases[0] + 12 * bases[1]) * 9
    several = {"abc_net", "adabin", "dorefa", "dorefa_1_1_8", "dsq"}
    assert report.folded == (method not in several | {"horq", "xnor_k"} | TIED | WEIGHTS_ONLY)


@pytest.mark.parametrize("method", sorted(set(list_methods()) - TIED - {"cbcn"}))
def test_linear_layers_of_every_method(method: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Flatten(),
        BinaryLinear(70, 12, method=method),
        nn.BatchNorm1d(12),
        BinaryLinear(12, 5, bias=True, method=method),
    )
    x = torch.randn(2, 2, 5, 7)
    check(ready(net, x), tmp_path, x)


# --- against loops -------------------------------------------------------------------------------------------------


GEOMETRIES = [
    {},
    {"padding": 1},
    {"padding": 1, "pad_value": 1},
    {"padding": 1, "pad_value": -1, "bias": True},
    {"padding": (1, 2), "stride": (2, 1), "bias": True},
    {"padding": 2, "dilation": (2, 1)},
    {"padding": 1, "groups": 2, "stride": 2},
    {"padding": (0, 2), "kernel_size": (1, 3), "groups": 4, "pad_value": -1},
]
METHODS = ["react", "abc_net", "adabin", "horq", "xnor_k", "dorefa", "bwn", "xnor_pp_separable"]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_one_layer_against_loops(method: str, geometry: dict, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = BinaryConv2d(8, 4, **{"kernel_size": 3, "method": method, **geometry})
    x = torch.randn(1, 8, 6, 5)
    net = ready(nn.Sequential(layer), x)
    _, session = write(net, tmp_path, x)
    terms = layer.terms()
    np.testing.assert_allclose(session.forward(x.numpy()), naive.evaluate_terms(terms, x.numpy()), rtol=1e-4, atol=1e-5)
    (site,) = GraphWriter(net).sites
    values = session.values(x[0].numpy())
    planes = dict(zip(map(id, terms.operands()), site.planes, strict=True))
    for term, node in zip(terms.terms, site.nodes, strict=True):
        weight, signs = term.weight.numpy(), values[planes[id(term.activation)]]
        if isinstance(term.activation, Residual):
            expected = naive.accumulate_patches(signs, weight, term.groups)
        elif not isinstance(term.activation, Real):
            where = (term.stride, term.padding, term.dilation, term.groups, term.pad_value)
            expected = naive.accumulate(signs, weight, *where)
        else:
            continue
        np.testing.assert_array_equal(session.accumulate(node, signs), expected)


# --- parts that no registered method combines ----------------------------------------------------------------------

WEIGHTS = {
    "one basis": lambda shape: SignWeight(ClippedSTE()),
    "two bases": lambda shape: LeastSquaresBases(2),
    "an offset": lambda shape: AffineWeight(ClippedSTE()),
}
ACTIVATIONS = {
    "one plane": lambda shape: SignActivation(ClippedSTE()),
    "two planes": lambda shape: ShiftedBases(2),
    "an offset": lambda shape: AffineSign(ApproxSign()),
    "residuals": lambda shape: ResidualPlanes(3),
    "real": lambda shape: RealActivation(),
}
OUTPUTS = {
    "no scale": lambda shape: OutputScale(),
    "K map": lambda shape: WindowMean(),
    "a scale a place": lambda shape: FullScale(shape.out_channels),
}


@pytest.mark.parametrize("names", list(itertools.product(WEIGHTS, ACTIVATIONS, OUTPUTS)), ids=", ".join)
def test_any_combination_of_parts(names: tuple[str, str, str], tmp_path: Path) -> None:
    weight, activation, output = names
    method = Method("custom", WEIGHTS[weight], ACTIVATIONS[activation], "none", output=OUTPUTS[output])
    torch.manual_seed(0)
    x = torch.randn(1, 8, 5, 6)
    layer = BinaryConv2d(8, 4, 3, padding=1, groups=2, bias=True, method=method)
    net = ready(nn.Sequential(layer, nn.BatchNorm2d(4)), x)
    check(net, tmp_path, x)


# --- what is written once ------------------------------------------------------------------------------------------


class Readers(nn.Module):
    """Two layers that read one map."""

    def __init__(self, method: str | Method) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 1)
        self.a, self.b = (BinaryConv2d(8, 4, 3, padding=1, method=method) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.a(x) + self.b(x)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (abc_net(2, 3), {"sign": 3, "binary_conv2d": 12}),
        ("dorefa", {"sign": 1, "ones": 1, "binary_conv2d": 4}),
        ("xnor_k", {"sign": 1, "window_mean": 1, "binary_conv2d": 2, "multiply": 2}),
        (horq(2), {"residual_sign": 2, "binary_patches": 4, "multiply": 4}),
        ("bwn", {"binary_weight_conv2d": 2}),
    ],
    ids=["abc_net", "dorefa", "xnor_k", "horq", "bwn"],
)
def test_readers_of_one_map_share_its_planes(method: str | Method, expected: dict[str, int], tmp_path: Path) -> None:
    net = Readers(method).eval()
    report, session = write(net, tmp_path, X)
    ops = [node.op for node in session.nodes]
    assert {op: ops.count(op) for op in expected} == expected
    bases = len({id(term.weight) for term in net.a.terms().terms})
    assert report.tensor_bytes["1-bit weights"] == 2 * bases * 4 * 9, "a basis is stored once, whatever planes it meets"


def test_a_wide_layer_is_packed(tmp_path: Path) -> None:
    layer = BinaryConv2d(256, 256, 3, padding=1, method="bwn")
    report, _ = write(layer, tmp_path, torch.randn(1, 256, 4, 4))
    assert report.float_bytes / report.file_bytes > 28


# --- what is refused -----------------------------------------------------------------------------------------------

UNFINISHED = [m for m in list_methods() if not layers_of(two_blocks(m))[0].ready]


def test_some_methods_harden() -> None:
    assert {"self_binarizing", "bitwise"} <= set(UNFINISHED)


@pytest.mark.parametrize("method", UNFINISHED)
def test_an_unfinished_schedule_is_refused_by_the_layers_name(method: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"layer '2': Expected a net whose training is finished.*set_progress"):
        export(two_blocks(method), tmp_path / "net.safetensors", example=X)
    assert list(tmp_path.iterdir()) == []


def test_an_untied_net_is_refused_by_the_layers_name(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"layer '2': Expected a net whose input size is fixed"):
        export(two_blocks("xnor_pp_full"), tmp_path / "net.safetensors", example=X)


@pytest.mark.parametrize("method", ["xnor_pp_full", "xnor_pp_place", "xnor_pp_separable"])
def test_scales_of_every_place_tie_the_artifact_to_its_size(method: str, tmp_path: Path) -> None:
    net = ready(two_blocks(method), X)
    _, session = write(net, tmp_path, X, resize=Resize((SIZE,)))
    with pytest.raises(
        ValueError, match=r"node `2\.placed` .*map of 9×10 px, to which the scales are tied, but got 8×10"
    ):
        session.forward(np.zeros((1, 3, 8, 10), np.float32))
    with pytest.raises(ArtifactError, match=r"map of 9×10 px, to which the scales are tied, but got 12×10"):
        write(net, tmp_path, X, resize=Resize((SIZE, (12, 10))))


@pytest.mark.parametrize(
    ("method", "op", "change", "message"),
    [
        ("horq", "residual_sign", {"index": 0}, r"signs before '2'.*distance"),
        ("horq", "residual_sign", {"pad_value": 1}, r"signs before '2'|signs at the image's taps"),
        ("xnor_k", "window_mean", {"pad_value": 1}, r"signs before '4'|raw outputs"),
        ("adabin", "ones", None, r"constant plane before '2'"),
        ("dorefa", "binary_conv2d", {"pad_value": 1}, r"accumulators of '2\.term0'"),
        ("bwn", "binary_weight_conv2d", {"pad_value": 1}, r"raw outputs"),
    ],
)
def test_a_wrong_node_is_found(
    method: str, op: str, change: dict | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from bnn_tasks.export import writer

    real_save = writer.save

    def save(path: Path, graph: object, tensors: dict[str, np.ndarray]) -> object:
        def spoil(node: object) -> object:
            if node.op != op:
                return node
            return replace(node, op="sign") if change is None else replace(node, attrs={**node.attrs, **change})

        return real_save(path, replace(graph, nodes=tuple(map(spoil, graph.nodes))), tensors)

    monkeypatch.setattr(writer, "save", save)
    with pytest.raises(ExportError, match=message):
        export(ready(two_blocks(method), X), tmp_path / "net.safetensors", example=X)
    assert list(tmp_path.iterdir()) == []
