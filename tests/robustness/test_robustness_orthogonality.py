"""Orthogonality: Gram matrices in plain loops, the three views of a net's weights, folded BatchNorms by running the net."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from nets import shake
from torch import Tensor, nn

from bnn_tasks.backbones import BiRealBlock, CifarResNet, LocalBlock, RealBlock
from bnn_tasks.binary import BinaryConv2d
from bnn_tasks.models import Classifier
from bnn_tasks.robustness.orthogonality import CosinePenalty, FrobeniusPenalty, GramPenalty, orthogonality
from bnn_tasks.robustness.weight_views import (
    EffectiveWeights,
    LatentWeights,
    ScaledBinaryWeights,
    WeightView,
    batchnorm_readers,
    weight_layers,
)
from bnn_tasks.tasks.classification_auxiliary import OrthogonalityLoss

VIEWS = [LatentWeights, ScaledBinaryWeights, EffectiveWeights]
PENALTIES = [FrobeniusPenalty, CosinePenalty]
IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def net(block: Any = BiRealBlock) -> Classifier:
    torch.manual_seed(0)
    made = Classifier(4, CifarResNet(8, block, width=4))
    shake(made)
    return made


def naive(matrix: np.ndarray, penalty: type[GramPenalty]) -> float:
    """Pair by pair over the shorter side."""
    rows = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    total = 0.0
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            product = float(a @ b)
            if penalty is FrobeniusPenalty:
                total += (product - (i == j)) ** 2
            elif i != j:
                total += product**2 / (float(a @ a) * float(b @ b))
    return total


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (4, 4), (1, 5)])
def test_penalties_against_loops(penalty: type[GramPenalty], shape: tuple[int, int]) -> None:
    matrices = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = sum(naive(m.numpy(), penalty) for m in matrices)
    assert float(penalty()(matrices)) == pytest.approx(expected, rel=1e-10)


def test_both_sides_have_one_gradient() -> None:
    w = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    small = FrobeniusPenalty()(w[None])
    large = (w @ w.T - torch.eye(6)).square().sum()
    assert float((large - small).detach()) == pytest.approx(3)  # |o - n|
    assert torch.allclose(*(torch.autograd.grad(side, w)[0] for side in (small, large)))


@pytest.mark.parametrize("shape", [(4, 9), (9, 4)])
@pytest.mark.parametrize("size", [1.0, 1e-9])
def test_rows_of_zeros_have_no_angle(shape: tuple[int, int], size: float) -> None:
    matrix = size * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    rows = matrix if shape[0] < shape[1] else matrix.T
    rows[1] = 0
    kept = np.delete(rows.double().numpy(), 1, 0)
    value = CosinePenalty()(matrix.requires_grad_()[None])
    assert value.item() == pytest.approx(naive(kept, CosinePenalty), rel=1e-4)
    (gradient,) = torch.autograd.grad(value, matrix)
    assert gradient.isfinite().all()
    assert (gradient if shape[0] < shape[1] else gradient.T)[1].abs().max() == 0


def test_orthonormal_rows_cost_nothing() -> None:
    q = torch.linalg.qr(torch.randn(9, 4, generator=torch.Generator().manual_seed(0)))[0].T[None]
    assert float(FrobeniusPenalty()(q)) == pytest.approx(0, abs=1e-10)
    assert float(CosinePenalty()(5 * q)) == pytest.approx(0, abs=1e-10)
    assert float(FrobeniusPenalty()(5 * q)) == pytest.approx(4 * 24**2, rel=1e-4)


def test_which_layers_are_looked_at() -> None:
    names = set(weight_layers(net(LocalBlock)))
    assert any(name.endswith("conv1") for name in names)
    layers = dict(net(LocalBlock).named_modules())
    left = {n for n, m in layers.items() if isinstance(m, nn.Conv2d | nn.Linear | BinaryConv2d)} - names
    kernels = {(tuple(layers[n].kernel_size), layers[n].groups > 1) for n in left}
    assert kernels == {((1, 1), False), ((3, 3), True)}  # shortcuts; depthwise paths


def test_views_of_one_binary_layer() -> None:
    made = net()
    name, layer = next((n, m) for n, m in made.named_modules() if isinstance(m, BinaryConv2d))
    w = layer.weight.detach().numpy().reshape(layer.out_channels, -1)
    assert np.array_equal(LatentWeights().matrices(made, IMAGES)[name][0].detach().numpy(), w)
    scaled = np.abs(w).mean(1, keepdims=True) * np.where(w >= 0, 1, -1)  # Bi-Real's
    assert np.allclose(ScaledBinaryWeights().matrices(made, IMAGES)[name][0].detach().numpy(), scaled)


def test_effective_weights_are_the_net_with_its_batchnorm_in_it() -> None:
    """conv + BatchNorm of a real net, run once with the folded kernel: equal but for the BatchNorm's constant."""
    made = net(RealBlock)
    readers = batchnorm_readers(made, IMAGES)
    matrices = EffectiveWeights().matrices(made, IMAGES)
    assert len(readers) == 7  # the stem and six convolutions; neither the shortcuts' nor the classifier
    for name, norm_name in readers.items():
        layer, norm = made.get_submodule(name), made.get_submodule(norm_name)
        assert isinstance(layer, nn.Conv2d)
        x = torch.randn(1, layer.in_channels, 5, 5)
        folded = copy.deepcopy(layer)
        folded.weight.data.copy_(matrices[name].reshape(layer.weight.shape))
        difference = norm(layer(x)) - norm(torch.zeros(1, layer.out_channels, 1, 1)) - folded(x)
        assert float(difference.detach().abs().max()) < 1e-5
    last = next(name for name in matrices if name not in readers)
    assert torch.equal(matrices[last], LatentWeights().matrices(made, IMAGES)[last])


def test_a_grouped_convolution_is_several_maps() -> None:
    class Grouped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 6, 3, groups=2)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x)

    made = Grouped()
    got = orthogonality(made, torch.rand(1, 4, 5, 5), LatentWeights(), FrobeniusPenalty())
    w = made.conv.weight.detach().double().numpy().reshape(6, -1)
    assert float(got.detach()) == pytest.approx(
        (naive(w[:3], FrobeniusPenalty) + naive(w[3:], FrobeniusPenalty)) / 2, rel=1e-5
    )


def test_of_two_batchnorms_the_first_is_folded_and_what_is_not_read_directly_is_not() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.late = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
            self.other, self.first, self.pooled = nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            z: Tensor = self.pooled(torch.relu(self.late(self.first(y) + self.other(y))))
            return z

    assert batchnorm_readers(Shared(), IMAGES) == {"conv": "first"}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_gradient_steps_lower_it_and_leave_the_net_as_it_was(
    view: type[WeightView], penalty: type[GramPenalty]
) -> None:
    made = net().train()
    before = {n: b.clone() for n, b in made.named_buffers()}
    chosen, optimizer = view(), torch.optim.Adam(made.parameters(), 1e-2)
    values = []
    for _ in range(30):
        optimizer.zero_grad()
        value = orthogonality(made, IMAGES, chosen, penalty())
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert np.isfinite(values).all()
    assert min(values) < values[0]
    assert all(torch.equal(b, before[n]) for n, b in made.named_buffers())
    assert all(part.training for part in made.modules())
    binary = next(m for m in made.modules() if isinstance(m, BinaryConv2d))
    assert binary.weight.grad is not None  # through the method's surrogate
    assert float(binary.weight.grad.abs().max()) > 0


def test_it_is_exact_under_bfloat16() -> None:
    made = net()
    plain = orthogonality(made, IMAGES, EffectiveWeights(), FrobeniusPenalty())
    with torch.autocast("cpu", torch.bfloat16):
        cast = orthogonality(made, IMAGES, EffectiveWeights(), FrobeniusPenalty())
    assert torch.equal(plain, cast)


def test_the_training_loss_is_named_after_what_it_regularises() -> None:
    made = net()
    loss = OrthogonalityLoss(0.5, EffectiveWeights(), CosinePenalty())
    (name,) = (found := loss(made, IMAGES, torch.zeros(2, dtype=torch.int64), 0.0))
    assert name == "orthogonality_effective_cosine"
    assert float(found[name]) == pytest.approx(
        0.5 * float(orthogonality(made, IMAGES, EffectiveWeights(), CosinePenalty()))
    )
    assert next(iter(OrthogonalityLoss(1.0, LatentWeights())(made, IMAGES, IMAGES, 0.0))) == "orthogonality_latent_gram"


def test_a_copy_of_the_task_looks_at_its_own_net() -> None:
    made, view = net(), EffectiveWeights()
    view.matrices(made, IMAGES)
    other, copied = net(RealBlock), copy.deepcopy(view)
    assert isinstance(pickle.loads(pickle.dumps(view)), EffectiveWeights)
    assert set(copied.matrices(other, IMAGES)) == set(weight_layers(other))


@pytest.mark.parametrize("beta", [0.0, -1.0, float("inf"), float("nan")])
def test_bad_beta(beta: float) -> None:
    with pytest.raises(ValueError, match="Expected `beta`"):
        OrthogonalityLoss(beta, LatentWeights())


def test_a_model_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="leave the orthogonality loss out"):
        orthogonality(nn.Identity(), IMAGES, LatentWeights(), FrobeniusPenalty())
