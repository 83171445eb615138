"""binarize(): what every sign sees, and what stays as it was."""

import copy
import operator

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from bnn_tasks.binary import BinaryConv2d, BinaryLinear, Method, SignWeight, binarize, get_method, list_methods
from bnn_tasks.binary.activations import SignActivation
from bnn_tasks.binary.estimators import STE

KEEP = ["conv1", "fc", "*downsample*"]


def tiny_resnet() -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=5)


def record(net: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Inputs and outputs of every leaf, by name, filled by the next forward; in-place changes do not reach them."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}

    def hook(name: str) -> object:
        def keep(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            inputs[name], outputs[name] = args[0].detach().clone(), output.detach().clone()

        return keep

    for name, module in net.named_modules():
        if not list(module.children()) or isinstance(module, BinaryConv2d | BinaryLinear):
            module.register_forward_hook(hook(name))
    return inputs, outputs


def binary_layers(net: nn.Module) -> list[str]:
    return [name for name, m in net.named_modules() if isinstance(m, BinaryConv2d | BinaryLinear)]


class Net(nn.Module):
    """conv, bn, then whatever the test is about, then a layer to binarise."""

    def __init__(self, between: object) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.between = between if isinstance(between, nn.Module) else None
        self.function = None if isinstance(between, nn.Module) else between
        self.target = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.stem(x))
        return self.target(self.between(x) if self.function is None else self.function(x))


def target_input(net: nn.Module, method: str = "xnor") -> tuple[Tensor, Tensor]:
    """What the binary layer of a binarised `Net` sees, and the BatchNorm's output."""
    binary = binarize(net, method, keep=["stem"])
    inputs, outputs = record(binary)
    binary(torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    return inputs["target"], outputs["bn"]


def relu_method(x: Tensor) -> Tensor:
    return x.relu()


def relu_method_inplace(x: Tensor) -> Tensor:
    return x.relu_()


def relu_function_inplace(x: Tensor) -> Tensor:
    return F.relu(x, inplace=True)


def relu_function_inplace_by_position(x: Tensor) -> Tensor:
    return F.relu(x, True)


def relu_underscore(x: Tensor) -> Tensor:
    return torch.relu_(x)


@pytest.mark.parametrize(
    "relu",
    [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        nn.ReLU6(inplace=True),
        F.relu,
        F.relu6,
        torch.relu,
        relu_method,
        relu_method_inplace,
        relu_function_inplace,
        relu_function_inplace_by_position,
        relu_underscore,
    ],
    ids=lambda r: getattr(r, "__name__", None) or str(r),
)
def test_the_sign_sees_the_batch_norm_past_any_relu(relu: object) -> None:
    seen, normed = target_input(Net(relu))
    assert (normed < 0).any()
    assert torch.equal(seen, normed)


@pytest.mark.parametrize(
    ("between", "without_relu"),
    [
        (nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), nn.MaxPool2d(2)),
        (nn.Sequential(nn.ReLU(True), nn.Dropout(0.0), nn.MaxPool2d(3, 1, 1)), nn.MaxPool2d(3, 1, 1)),
        (lambda x: F.max_pool2d(F.relu(x), 2), nn.MaxPool2d(2)),
        (lambda x: torch.cat([F.relu(x[:, :2]), F.relu(x[:, 2:])], 1), nn.Identity()),
        (nn.Hardswish(inplace=True), nn.Hardswish()),
        (nn.PReLU(), nn.PReLU()),
        (nn.Identity(), nn.Identity()),
        (nn.Sequential(nn.MaxPool2d(2), nn.ReLU()), nn.MaxPool2d(2)),
        (nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.ReLU()), nn.MaxPool2d(2)),
        (lambda x: F.relu(F.relu(x)), nn.Identity()),
    ],
)
def test_what_commutes_with_the_relu_still_happens(between: object, without_relu: nn.Module) -> None:
    seen, normed = target_input(Net(between))
    assert torch.equal(seen, without_relu(normed))


@pytest.mark.parametrize(
    "between",
    [
        nn.Sequential(nn.ReLU(), nn.AvgPool2d(2)),
        nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(4)),
        nn.Sequential(nn.Sigmoid(), nn.MaxPool2d(2)),
        lambda x: F.relu(x) + torch.sigmoid(x),
        lambda x: F.relu(x) * F.relu(-x),
        torch.abs,
        F.softplus,
    ],
)
def test_an_input_of_one_sign_is_an_error_that_names_the_layer(between: object) -> None:
    with pytest.raises(ValueError, match=r"input of 'target' to have both signs.*never negative.*`keep`"):
        binarize(Net(between), "xnor", keep=["stem"])


@pytest.mark.parametrize("shift", [lambda x: F.relu(x) + -0.3, lambda x: F.relu(x) * -1.0, lambda x: F.relu(x) - 0.3])
def test_a_negative_constant_gives_both_signs(shift: object) -> None:
    seen, normed = target_input(Net(shift))
    assert torch.equal(seen, shift(normed))


WEIGHT_ONLY = ["binary_connect", "binary_connect_stochastic", "bwn"]


@pytest.mark.parametrize("method", WEIGHT_ONLY)
@pytest.mark.parametrize(
    "between",
    [
        nn.ReLU(inplace=True),
        F.relu6,
        nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.ReLU(), nn.AvgPool2d(2)),
        nn.Sigmoid(),
        torch.abs,
    ],
    ids=["relu", "relu6", "max pool", "average pool", "sigmoid", "abs"],
)
def test_real_activations_keep_their_relu_and_may_have_one_sign(method: str, between: object) -> None:
    seen, normed = target_input(Net(between), method)
    assert torch.equal(seen, between(normed.clone()))
    assert (seen >= 0).all()


@pytest.mark.parametrize("method", list_methods())
def test_whether_a_method_takes_an_input_of_one_sign(method: str) -> None:
    found = get_method(method)
    fine = method in WEIGHT_ONLY or method.startswith("dorefa")
    assert found.tells_positives_apart == fine
    assert found.binary_activations == (method not in WEIGHT_ONLY)
    if fine:
        binarize(Net(nn.Sigmoid()), method, keep=["stem"])
    else:
        with pytest.raises(ValueError, match=r"input of 'target' to have both signs"):
            binarize(Net(nn.Sigmoid()), method, keep=["stem"])


@pytest.mark.parametrize("between", [nn.ReLU(), nn.Sequential(nn.ReLU6(), nn.MaxPool2d(2))], ids=str)
def test_dorefa_skips_a_relu_that_its_clip_makes_needless(between: nn.Module) -> None:
    """clip(relu(x), 0, 1) = clip(x, 0, 1): outputs and gradients are those of the net with its ReLU."""
    torch.manual_seed(0)
    net = Net(between)
    binary = binarize(net, "dorefa", keep=["stem"])
    x = torch.randn(2, 3, 8, 8)
    y = binary(x)
    y.square().sum().backward()
    direct = binary.target(between(binary.bn(binary.stem(x))))
    torch.testing.assert_close(direct, y)
    grads = torch.autograd.grad(direct.square().sum(), [binary.stem.weight, binary.target.weight])
    torch.testing.assert_close(list(grads), [binary.stem.weight.grad, binary.target.weight.grad])
    seen, normed = target_input(net, "dorefa")
    assert (seen < 0).any()
    assert seen.shape == between(normed).shape


class TwoReaders(nn.Module):
    """One ReLU read by a layer that stays real and one that becomes binary, and by a sum."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace)
        self.kept = nn.Conv2d(4, 4, 3, padding=1)
        self.target = nn.Conv2d(4, 4, 3, padding=1)
        self.tail = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn(self.stem(x)))
        return self.tail(self.kept(x) + 0 * self.target(x) + x)


@pytest.mark.parametrize("inplace", [False, True])
def test_other_readers_of_the_relu_are_unaffected(inplace: bool) -> None:
    torch.manual_seed(0)
    net = TwoReaders(inplace).eval()
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(binarize(net, "bnn", keep=["stem", "kept"])(x), net(x))


class InplaceSum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn, self.target = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.stem(x))
        y = F.relu(x)
        y += 1
        return self.target(F.relu(x)) + y


def test_an_inplace_sum_does_not_reach_the_sign() -> None:
    net = binarize(InplaceSum(), "bnn", keep=["stem"])
    inputs, outputs = record(net)
    net(torch.randn(2, 3, 4, 4))
    assert torch.equal(inputs["target"], outputs["bn"])
    assert operator.iadd not in {node.target for node in net.graph.nodes}


def test_the_original_is_not_changed_and_names_are_kept() -> None:
    net = tiny_resnet().train()
    before, text = copy.deepcopy(net.state_dict()), str(net)
    net.layer1.eval()
    binary = binarize(net, "xnor", keep=KEEP)
    assert str(net) == text
    assert net.relu.inplace
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    after = binary.state_dict()
    assert set(after) == set(before)
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name
    binary(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(p.grad is None for p in net.parameters())
    assert binary.layer2.training
    assert not binary.get_submodule("layer1.0.conv1").training


def test_torchvisions_resnet_block_by_block() -> None:
    net = binarize(tiny_resnet(), "xnor", keep=KEEP)
    assert binary_layers(net) == [f"layer{i}.0.conv{j}" for i in (1, 2, 3, 4) for j in (1, 2)]
    inputs, outputs = record(net)
    net(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(inputs["layer1.0.conv1"], F.max_pool2d(outputs["bn1"], 3, 2, 1))
    summed, residual = (
        inputs["layer1.0.conv1"],
        F.max_pool2d(outputs["bn1"].relu(), 3, 2, 1),
    )  # the identity path still has its ReLU
    for stage in (1, 2, 3, 4):
        block = f"layer{stage}.0"
        assert torch.equal(inputs[f"{block}.conv2"], outputs[f"{block}.bn1"])
        assert torch.equal(inputs[f"{block}.conv1"], summed)
        if stage > 1:
            assert torch.equal(inputs[f"{block}.downsample.0"], residual)
            residual = outputs[f"{block}.downsample.1"]
        summed = outputs[f"{block}.bn2"] + residual
        residual = summed.relu()
    pooled = residual.mean((2, 3))
    torch.testing.assert_close(inputs["fc"], pooled)


def test_keep_as_a_function_and_geometry() -> None:
    net = binarize(tiny_resnet(), "bnn", keep=lambda name, layer: not name.startswith("layer3") or "down" in name)
    assert binary_layers(net) == ["layer3.0.conv1", "layer3.0.conv2"]
    assert net.get_submodule("layer3.0.conv1").stride == (2, 2)
    assert type(net.conv1) is nn.Conv2d


def test_a_linear_layer_with_bias() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4))
    binary = binarize(net, "xnor", keep=["1"])
    assert isinstance(binary.get_submodule("4"), BinaryLinear)
    assert torch.equal(binary.get_submodule("4").bias, net[4].bias)


def test_with_a_method_of_ones_own() -> None:
    own = Method("own", lambda shape: SignWeight(STE()), lambda shape: SignActivation(STE()), "nobody, 2026")
    assert binarize(Net(nn.ReLU()), own, keep=["stem"]).target.method_name == "own"


def test_a_pattern_without_a_match_is_named() -> None:
    with pytest.raises(ValueError, match=r"'conv9' matches none of \['conv1'"):
        binarize(tiny_resnet(), "xnor", keep=["conv1", "conv9"])


def test_nothing_left_to_binarise() -> None:
    with pytest.raises(ValueError, match=r"`keep` holds them all"):
        binarize(Net(nn.ReLU()), "xnor", keep=["*"])


def test_a_module_that_cannot_be_traced_is_named() -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(ValueError, match=r"torch.fx can trace, but Branching is not"):
        binarize(Branching(), "xnor", keep=[])


class Folded(nn.Module):
    """Reads a layer's weight itself."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.norm(x), self.conv.weight)


class Unused(Folded):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (Folded(), "'conv' has its weight read by another function"),
        (Unused(), "'conv' is called by none"),
        (nn.Sequential(weight_norm(nn.Conv2d(3, 3, 1))), "'0' is a ParametrizedConv2d, which computes something else"),
    ],
)
def test_a_layer_that_would_be_binary_in_name_only(net: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=rf"{message}.*Cure: add '\w+' to `keep`"):
        binarize(net, "bnn", keep=[])


@pytest.mark.parametrize("arguments", [{"padding": "same"}, {"padding": 1, "padding_mode": "reflect"}])
def test_a_padding_that_has_no_binary_form(arguments: dict) -> None:
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3, **arguments))
    with pytest.raises(ValueError, match=r"1: Expected padding with zeros.*To keep it real, add '1' to `keep`"):
        binarize(net, "xnor", keep=[])


def test_unknown_method() -> None:
    with pytest.raises(ValueError, match=r"Expected `method` to be one of"):
        binarize(Net(nn.ReLU()), "nothing", keep=["stem"])


def test_an_already_binary_layer_stays() -> None:
    net = nn.Sequential(nn.BatchNorm2d(3), BinaryConv2d(3, 4, 3, method="bnn"), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))
    binary = binarize(net, "xnor", keep=[])
    assert [m.method_name for m in binary.modules() if isinstance(m, BinaryConv2d)] == ["bnn", "xnor"]


def test_a_string_is_no_list_of_names() -> None:
    with pytest.raises(TypeError, match="list of names or patterns"):
        binarize(nn.Sequential(nn.Conv2d(3, 3, 3)), "bnn", keep="conv1")
