"""Diagnostics by closed form on linear and tiny nets; the verdict on planted facts, each rule alone."""

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import shake
from torch import Tensor, nn

from bnn_tasks.backbones import CifarResNet, RealBlock
from bnn_tasks.binary import BinaryConv2d, BinaryLinear
from bnn_tasks.models import Classifier
from bnn_tasks.robustness.diagnostics import (
    beyond_clip,
    gradient_cosine,
    input_gradient,
    loss_line,
    loss_plane,
    matched_noise,
    noise_amplification,
    output_spread,
    saturated_share,
    sensitivity,
    sign_flips,
    spectral_norm,
    spectral_norms,
    zero_gradient_share,
)
from bnn_tasks.robustness.facts import Facts
from bnn_tasks.robustness.objective import CrossEntropyObjective, Objective
from bnn_tasks.robustness.verdict import TRUSTWORTHY, judge
from bnn_tasks.robustness.verdict_rules import MASKED, RULES, WEAK, Rule
from bnn_tasks.robustness.weight_views import EffectiveWeights, LatentWeights

LABELS = torch.tensor([0, 1, 2, 0])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


IMAGES = torch.rand(4, 3, 8, 8, generator=seeded())
PERTURBED = (IMAGES + 0.1 * (2 * torch.rand(4, 3, 8, 8, generator=seeded(1)) - 1)).clamp(0, 1)


def net(**arguments: Any) -> Classifier:
    torch.manual_seed(0)
    model = Classifier(3, CifarResNet(8, width=4, **arguments))
    shake(model)
    return model


class Square(Objective):
    """Σ (x - c)², whose gradient 2(x - c) is known."""

    def __init__(self, centre: float) -> None:
        self.centre = centre

    def __call__(self, images: Tensor, progress: float = 0.0) -> Tensor:
        return (images - self.centre).square().flatten(1).sum(1)


# ---- noise of the attack's size ----


def test_matched_noise_has_the_attacks_size_everywhere() -> None:
    images = torch.rand(3, 3, 16, 16, generator=seeded())
    images[0, 0] = 0.0  # here one sign leads out of [0, 1]
    adversarial = (images + 0.1 * torch.randn(images.shape, generator=seeded(1)).sign()).clamp(0, 1)
    noise = matched_noise(images, adversarial, seeded(2))
    assert torch.allclose((noise - images).abs(), (adversarial - images).abs(), atol=1e-7)
    assert 0 <= float(noise.min()) <= float(noise.max()) <= 1
    same = (noise - adversarial).abs() < 1e-7
    assert bool(same[0, 0].all())
    assert 0.4 < float(same[1:].float().mean()) < 0.6
    assert torch.equal(noise, matched_noise(images, adversarial, seeded(2)))


# ---- what layers pass on ----


def test_amplification_of_a_linear_net_is_a_ratio_of_lengths() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(180, 2)).eval()
    found = noise_amplification(model, IMAGES, PERTURBED)
    assert list(found) == ["0", "2"]
    with torch.no_grad():
        for name, part in (("0", model[:1]), ("2", model)):
            a, b = part(IMAGES).flatten(1).numpy(), part(PERTURBED).flatten(1).numpy()
            expected = np.linalg.norm(b - a, axis=1) / np.linalg.norm(a, axis=1)
            assert np.allclose(found[name].numpy(), expected, rtol=1e-4)


def test_a_layer_that_runs_twice_is_one_vector() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(192, 192)

        def forward(self, x: Tensor) -> Tensor:
            first: Tensor = self.fc(x.flatten(1))
            second: Tensor = self.fc(first)
            return torch.cat([first, second], 1)

    model = Twice().eval()
    (found,) = noise_amplification(model, IMAGES, PERTURBED).values()
    with torch.no_grad():
        a, b = model(IMAGES), model(PERTURBED)
    assert torch.allclose(found, (b - a).norm(dim=1) / a.norm(dim=1), rtol=1e-4)


def test_nothing_moves_without_a_perturbation() -> None:
    model = net()
    assert all(bool((d == 0).all()) for d in noise_amplification(model, IMAGES, IMAGES).values())
    assert all(bool((d == 0).all()) for d in sign_flips(model, IMAGES, IMAGES).values())
    assert not any(part._forward_hooks for part in model.modules())


@pytest.mark.parametrize("method", ["react", "bireal", "abc_net"])
def test_sign_flips_against_a_loop(method: str) -> None:
    torch.manual_seed(0)
    layer = BinaryConv2d(3, 4, 3, method=method)
    shake(layer)
    found = sign_flips(nn.Sequential(layer).eval(), IMAGES - 0.5, PERTURBED - 0.5)["0"]
    planes = [plane.operand for plane in layer.activation_binarizer.planes()]
    for i in range(4):
        flips = [
            float((p.plane(IMAGES[i : i + 1] - 0.5) != p.plane(PERTURBED[i : i + 1] - 0.5)).float().mean())
            for p in planes
        ]
        assert float(found[i]) == pytest.approx(sum(flips) / len(flips))
        assert 0 < float(found[i]) < 0.5


def test_sign_flips_of_a_linear_layer_on_tokens() -> None:
    torch.manual_seed(0)
    layer = BinaryLinear(3, 4)
    layer.activation_binarizer.theta.data = torch.tensor([0.2, 0.5, 0.8])
    x, moved = (t.flatten(2).transpose(1, 2) for t in (IMAGES, PERTURBED))  # (4, 64, 3)
    theta = np.array([0.2, 0.5, 0.8], np.float32)
    expected = ((x.numpy() >= theta) != (moved.numpy() >= theta)).mean((1, 2))
    assert np.allclose(sign_flips(layer.eval(), x, moved)[""].numpy(), expected)


def test_real_activations_have_no_signs() -> None:
    layer = BinaryConv2d(3, 4, 3, method="bwn").eval()
    assert sign_flips(layer, IMAGES, PERTURBED) == {}
    assert beyond_clip(layer, IMAGES) == {}


def test_beyond_the_clip() -> None:
    layer = BinaryConv2d(1, 2, 1, method="bireal").eval()
    x = torch.tensor([-2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 3.0, 0.9]).view(1, 1, 2, 4)
    assert beyond_clip(layer, x)[""] == pytest.approx(3 / 8)
    assert beyond_clip(layer, x, 0.6)[""] == pytest.approx(6 / 8)


def test_sensitivity_of_a_binary_net_and_its_twin() -> None:
    binary = sensitivity(net(), IMAGES, PERTURBED, seeded())
    real = sensitivity(net(block=RealBlock), IMAGES, PERTURBED, seeded())
    assert len(binary.flips) == 6
    assert real.flips == []
    assert binary.amplification[0].name == "backbone.conv1"
    noise = matched_noise(IMAGES, PERTURBED, seeded())
    for row in binary.amplification:
        assert row.random == pytest.approx(float(noise_amplification(net(), IMAGES, noise)[row.name].mean()))
    assert all(0 <= row.adversarial <= 1 for row in binary.flips)


@pytest.mark.parametrize("measure", [noise_amplification, sign_flips])
def test_a_net_in_training_mode_is_refused(measure: Callable[..., Any]) -> None:
    model = net()
    model.backbone.bn1.train()
    with pytest.raises(ValueError, match=r"evaluation mode, but backbone\.bn1 is in training mode"):
        measure(model, IMAGES, PERTURBED)


# ---- spectral norms ----


@pytest.mark.parametrize("shape", [(1, 5, 9), (1, 9, 5), (3, 4, 6)])
def test_spectral_norm_against_a_decomposition(shape: tuple[int, ...]) -> None:
    matrix = torch.randn(shape, generator=seeded())
    assert spectral_norm(matrix, seeded(1), 500) == pytest.approx(
        float(torch.linalg.matrix_norm(matrix, 2).max()), rel=1e-4
    )


def test_spectral_norms_of_a_net() -> None:
    model = net()
    for view in (LatentWeights(), EffectiveWeights()):
        found = spectral_norms(model, IMAGES, view, seeded(), 2000)
        for name, matrix in view.matrices(model, IMAGES).items():
            expected = float(torch.linalg.matrix_norm(matrix.detach(), 2).max())
            assert found[name] == pytest.approx(expected, rel=2e-3), name
            assert found[name] <= expected * (1 + 1e-5)


def test_a_matrix_of_zeros() -> None:
    assert spectral_norm(torch.zeros(1, 3, 4), seeded()) == 0


# ---- gradients ----


def test_input_gradient_of_a_square() -> None:
    assert torch.allclose(input_gradient(Square(0.5), IMAGES), 2 * (IMAGES - 0.5))


def test_the_gradient_of_what_does_not_depend_on_the_image_is_zero() -> None:
    step = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    objective = CrossEntropyObjective(lambda x: (step(x) > 0).float(), LABELS)
    assert zero_gradient_share(objective, IMAGES) == 1


def test_zero_gradients_are_counted_by_image() -> None:
    images = IMAGES.clone()
    images[1] = 0.5
    assert zero_gradient_share(Square(0.5), images) == pytest.approx(1 / 4)


def test_huge_logits_have_no_gradient() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).eval()
    labels = model(IMAGES).argmax(1)
    assert zero_gradient_share(CrossEntropyObjective(model, labels), IMAGES) == 0
    assert zero_gradient_share(CrossEntropyObjective(lambda x: 1e4 * model(x), labels), IMAGES) == 1
    assert saturated_share(1e4 * model(IMAGES)) == 1
    assert saturated_share(model(IMAGES)) == 0


def test_cosine_of_neighbouring_gradients() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).eval()
    assert torch.allclose(
        gradient_cosine(CrossEntropyObjective(linear, LABELS), IMAGES, 1e-3, seeded()), torch.ones(4), atol=1e-4
    )
    found = gradient_cosine(Square(0.5), IMAGES, 0.3, seeded())
    moved = (IMAGES + (torch.rand(IMAGES.shape, generator=seeded()) * 2 - 1) * 0.3).clamp(0, 1)
    assert torch.allclose(found, F.cosine_similarity((IMAGES - 0.5).flatten(1), (moved - 0.5).flatten(1)), atol=1e-5)
    assert float(gradient_cosine(Square(0.5), torch.full((1, 1, 2, 2), 0.5), 0.1, seeded())) == 0


# ---- outputs ----


@pytest.mark.parametrize(("gap", "saturated"), [(16.0, False), (17.0, True), (200.0, True)])
def test_saturated_means_one_in_float32(gap: float, saturated: bool) -> None:
    logits = torch.tensor([[gap, 0.0]])
    assert (float(torch.softmax(logits, 1).max()) == 1) == saturated
    assert saturated_share(logits) == saturated


def test_share_below() -> None:
    gaps = torch.tensor([0.0, 4.0, 5.0, 20.0])  # 1 - p = 1/(1 + e^gap): 0.5, 0.018, 0.0067, 2e-9
    logits = torch.stack([gaps, torch.zeros(4)], 1)
    assert saturated_share(logits, below=0.01) == 0.5


def test_spread_of_random_outputs() -> None:
    calls = iter([1.0, -1.0, 1.0])
    spread = output_spread(lambda x: torch.full((len(x), 2), next(calls)), IMAGES, 3)
    assert spread == pytest.approx(2)  # opposite unit vectors
    assert output_spread(net(), IMAGES) == 0


# ---- slices ----


def test_a_line_over_a_square() -> None:
    images = torch.full((2, 1, 2, 2), 0.6)
    line = loss_line(Square(0.5), images, 0.2, 5)
    assert line.offsets.tolist() == pytest.approx([-0.2, -0.1, 0.0, 0.1, 0.2])
    assert line.losses[0].tolist() == pytest.approx([4 * (0.1 + a) ** 2 for a in (-0.2, -0.1, 0.0, 0.1, 0.2)], abs=1e-6)


def test_a_plane_over_a_square() -> None:
    images = torch.full((1, 1, 4, 4), 0.6)
    plane = loss_plane(Square(0.5), images, 0.2, seeded(), 5)
    signs = (torch.randint(2, images.shape, generator=seeded()) * 2 - 1).numpy()
    for i, a in enumerate((-0.2, -0.1, 0.0, 0.1, 0.2)):
        for j, b in enumerate((-0.2, -0.1, 0.0, 0.1, 0.2)):
            expected = ((np.clip(0.6 + a + b * signs, 0, 1) - 0.5) ** 2).sum()
            assert float(plane.losses[0, i, j]) == pytest.approx(expected, abs=1e-5)


def test_a_binary_nets_line_is_a_stair() -> None:
    layer = BinaryConv2d(1, 1, 1, method="bireal").eval()
    layer.weight.data.fill_(1.0)
    objective = CrossEntropyObjective(
        lambda x: torch.cat([layer(x - 0.5).flatten(1), torch.zeros(len(x), 1)], 1), torch.tensor([0])
    )
    line = loss_line(objective, torch.full((1, 1, 1, 1), 0.55), 0.2, 41)
    assert len(set(line.losses[0].tolist())) == 2


BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: loss_line(Square(0.5), IMAGES, 0.1, 4), "points"),
    (lambda: loss_line(Square(0.5), IMAGES, 0.0, 5), "radius"),
    (lambda: gradient_cosine(Square(0.5), IMAGES, 0.0, seeded()), "radius"),
    (lambda: output_spread(lambda x: x, IMAGES, 1), "repeats"),
    (lambda: saturated_share(torch.zeros(1, 2), 0.0), "below"),
    (lambda: spectral_norm(torch.zeros(1, 2, 2), seeded(), 0), "iterations"),
    (lambda: beyond_clip(nn.Identity().eval(), IMAGES, 0.0), "clip"),
    (lambda: replace(CLEAN, noise=1.2), "noise"),
    (lambda: replace(CLEAN, ladder=((0.1, 0.5), (0.1, 0.4))), "ladder"),
    (lambda: replace(CLEAN, images=0), "images"),
]


@pytest.mark.parametrize(("call", "word"), BAD, ids=[f"{i}-{word}" for i, (_, word) in enumerate(BAD)])
def test_bad_arguments(call: Callable[[], Any], word: str) -> None:
    with pytest.raises(ValueError, match=f"Expected .*`{word}`"):
        call()


# ---- the verdict ----

# What an adversarially trained net gives that was attacked with care.
CLEAN = Facts(
    images=1000,
    classes=10,
    binary=True,
    clean=0.85,
    noise=0.84,
    one_step=0.56,
    iterated=0.50,
    steps=20,
    step_size=0.25,
    largest_change=1.0,
    margin=0.499,
    late_gain=0.02,
    rescaled=0.498,
    surrogates=0.495,
    sharpness=((1, 0.51), (3, 0.50), (10, 0.53)),
    blunt=0.50,
    black_box=0.60,
    black_box_alone=0.001,
    transfer_alone=0.0,
    step_counts=((10, 0.51), (20, 0.50), (100, 0.497)),
    separate=((0.5 / 255, 0.84), (1 / 255, 0.8), (4 / 255, 0.62)),
    ladder=((0.0, 0.85), (0.5 / 255, 0.83), (8 / 255, 0.48), (32 / 255, 0.02), (0.5, 0.0)),
    zero_gradients=0.0,
    saturated=0.01,
    output_spread=0.0,
)

PLANTED: dict[str, tuple[dict[str, Any], str]] = {
    "no reach": ({"step_size": 0.0}, WEAK),
    "no movement": ({"largest_change": 0.01}, WEAK),
    "random outputs": ({"output_spread": 0.02}, MASKED),
    "zero gradients": ({"zero_gradients": 0.9}, MASKED),
    "saturated softmax": ({"saturated": 0.8}, MASKED),
    "rescaled logits": ({"rescaled": 0.3}, MASKED),
    "other surrogates": ({"surrogates": 0.10}, MASKED),
    "noise is stronger": ({"noise": 0.4}, MASKED),
    "one step is stronger": ({"one_step": 0.4}, MASKED),
    "gradient-free is stronger": ({"black_box_alone": 0.05}, MASKED),
    "transfer is stronger": ({"transfer_alone": 0.05}, MASKED),
    "more ε does not help": ({"separate": ((0.5 / 255, 0.6), (8 / 255, 0.48), (0.1, 0.55))}, MASKED),
    "unbounded attack fails": ({"ladder": ((0.5 / 255, 0.6), (8 / 255, 0.48), (0.5, 0.4))}, MASKED),
    "not converged": ({"step_counts": ((10, 0.7), (20, 0.5))}, WEAK),
    "loss still rising": ({"late_gain": 0.3}, WEAK),
    "sweep at its edge": ({"sharpness": ((1, 0.9), (3, 0.7), (10, 0.45))}, WEAK),
    "unmeasured": ({"images": 20, "black_box_alone": 0.0}, WEAK),
}


def test_a_clean_record_is_trustworthy_and_still_an_upper_bound() -> None:
    verdict = judge(CLEAN)
    assert (verdict.label, verdict.reasons) == (TRUSTWORTHY, ())
    assert "upper bound" in str(verdict)
    real = replace(CLEAN, binary=False, surrogates=None, sharpness=None, transfer_alone=None)
    assert judge(real).label == TRUSTWORTHY


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_rule_fires_alone(rule: Rule) -> None:
    changes, label = PLANTED[rule.name]
    facts = replace(CLEAN, **changes)
    assert [other.name for other in RULES if other.check(facts, other.threshold)] == [rule.name]
    verdict = judge(facts)
    assert verdict.label == label == rule.label
    assert len(verdict.reasons) == 1
    assert str(verdict).startswith(f"{label}: ")
    assert "upper bound" in str(verdict)
    assert rule.source


def test_every_rule_is_planted_and_none_is_twice() -> None:
    names = [rule.name for rule in RULES]
    assert set(names) == set(PLANTED)
    assert len(names) == len(set(names))


def test_a_broken_attack_is_not_taken_for_masking() -> None:
    """Step size zero: everything else looks masked too."""
    facts = replace(CLEAN, step_size=0.0, iterated=0.85, surrogates=0.85, rescaled=0.85, black_box_alone=0.4)
    verdict = judge(facts)
    assert verdict.label == WEAK
    assert verdict.reasons[0].startswith("20 steps of 0 ε")
    assert len(verdict.reasons) > 1


@pytest.mark.parametrize(
    "name",
    [
        *("noise", "one_step", "iterated", "steps", "step_counts", "black_box"),
        *("zero_gradients", "output_spread", "ladder", "surrogates"),
    ],
)
def test_what_was_not_measured_is_said(name: str) -> None:
    verdict = judge(replace(CLEAN, **{name: None}))
    assert verdict.label == WEAK
    assert "not measured" in verdict.reasons[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"rescaled": 0.33, "margin": 0.335},  # cross-entropy a little behind the losses without a scale
        {"sharpness": ((1, 0.50), (3, 0.54), (10, 0.55)), "blunt": 0.495},  # an edge that another surrogate beats
        {"saturated": 0.9, "iterated": 0.0, "surrogates": 0.0, "rescaled": 0.0, "margin": 0.0, "noise": 0.84},
        {"late_gain": 0.5, "iterated": 0.0, "surrogates": 0.0, "rescaled": 0.0, "margin": 0.0, "noise": 0.84},
        {"total": 27.7, "ladder": ((0.0, 0.85), (0.5 / 255, 0.83), (0.5, 0.5), (32.0, 0.0))},  # L2
    ],
)
def test_what_is_ordinary_is_not_masking(changes: dict[str, Any]) -> None:
    assert judge(replace(CLEAN, **changes)).label == TRUSTWORTHY


def test_an_artifact_is_not_said_to_lack_what_was_tried() -> None:
    facts = Facts(200, 10, False, 0.9, noise=0.9, black_box=0.7, ladder=CLEAN.ladder, output_spread=0.0)
    assert "gradient-free" not in judge(facts).reasons[0]
    assert "an iterated attack" in judge(facts).reasons[0]


def test_a_ladder_that_begins_too_high_hides_everything() -> None:
    ladder = ((0.0, 0.85), (8 / 255, 0.0), (0.5, 0.0))
    assert "an ε of at most 1/255" in judge(replace(CLEAN, ladder=ladder)).reasons[0]


def test_one_image_is_no_difference() -> None:
    few = replace(CLEAN, images=200)
    assert judge(replace(few, black_box_alone=1 / 200)).label == TRUSTWORTHY
    assert judge(replace(few, black_box_alone=2 / 200)).label == MASKED


def test_facts_are_plain_numbers() -> None:
    assert all(not isinstance(value, Tensor) for value in asdict(CLEAN).values())
    assert math.isclose(CLEAN.clean, 0.85)
