"""APGD's schedule, the ratio of logits and the temperatures against their formulas."""

import math

import numpy as np
import pytest
import torch
from attack_victims import Watched, generated, real_net, seeded
from torch import Tensor, nn

from bnn_tasks.robustness.attacks import APGD, HNS, NJS, PGD, TemperatureScaled
from bnn_tasks.robustness.attacks.apgd import checkpoints
from bnn_tasks.robustness.attacks.temperature import GRID, largest_scale
from bnn_tasks.robustness.dlr import DLRObjective, TargetedDLRObjective
from bnn_tasks.robustness.objective import CrossEntropyObjective, MarginObjective


def test_checkpoints_of_the_paper() -> None:
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(1) == [1]
    for steps in range(1, 60):
        p, found = [0.0, 0.22], []
        while p[-1] <= 1 + 1e-9:
            found.append(math.ceil(p[-1] * steps - 1e-9))
            p.append(p[-1] + max(p[-1] - p[-2] - 0.03, 0.06))
        assert checkpoints(steps) == sorted(set(found))


class Wave(nn.Module):
    """Two logits that wind: z = (0, Σ sin(9x) + x/2), so that steps of 2ε overshoot."""

    def forward(self, images: Tensor) -> Tensor:
        value = (torch.sin(9 * images) + images / 2).flatten(1).sum(1)
        return torch.stack([torch.zeros_like(value), value], 1)


def _naive_apgd(start: np.ndarray, centre: np.ndarray, eps: float, steps: int) -> list[np.ndarray]:
    """Algorithm 1 of the paper, value by value, on -log softmax(z)_0 of the wave."""

    def loss(x: np.ndarray) -> float:
        return float(np.logaddexp(0, np.sum(np.sin(9 * x) + x / 2)))

    def gradient(x: np.ndarray) -> np.ndarray:
        return 9 * np.cos(9 * x) + 0.5  # its factor, a sigmoid, is positive

    def clip(x: np.ndarray) -> np.ndarray:
        return np.clip(np.clip(x, centre - eps, centre + eps), 0, 1)

    step, x, best = 2 * eps, [start], start
    etas, tops = [step], [loss(start)]
    w = [0, *checkpoints(steps)]
    here, values = start, [loss(start)]
    for k in range(steps):
        z = clip(here + step * np.sign(gradient(here)))
        momentum = here - x[k - 1] if k else 0
        new = clip(here + (0.75 if k else 1) * (z - here) + 0.25 * momentum)
        x[k] = here
        x.append(new)
        here = new
        values.append(loss(new))
        if values[-1] > loss(best):
            best = new
        if k + 1 in w:
            j = w.index(k + 1)
            rises = sum(values[i + 1] > values[i] for i in range(w[j - 1], w[j]))
            stalled = j > 1 and etas[j - 1] == etas[j - 2] and tops[j - 1] == loss(best)
            if rises < 0.75 * (w[j] - w[j - 1]) or stalled:
                step, here = step / 2, best
            etas.append(step)
            tops.append(loss(best))
    return x


def test_apgd_follows_the_algorithm() -> None:
    steps, eps = 40, 0.2
    images = torch.rand(1, 1, 2, 3, generator=seeded(5)).double()
    seen: list[Tensor] = []
    objective = Watched(
        Wave().eval(), torch.zeros(1, dtype=torch.int64), lambda x: torch.zeros(len(x), dtype=torch.bool), seen
    )
    APGD(steps)(objective, images, eps, seeded())
    iterates = [batch.numpy().ravel() for batch in seen[1:]]
    expected = _naive_apgd(iterates[0], images.numpy().ravel(), eps, steps)
    assert len(iterates) == steps + 1
    checks = checkpoints(steps)
    for k, iterate in enumerate(iterates):
        if k not in checks:  # there the twin's list holds the best point that it returned to
            np.testing.assert_allclose(iterate, expected[k], atol=1e-9, err_msg=f"iterate {k}")


@pytest.mark.parametrize("classes", [4, 7])
def test_difference_of_logits_ratio(classes: int) -> None:
    generator = seeded()
    logits = torch.randn(6, classes, generator=generator)
    labels = torch.randint(classes, (6,), generator=generator)
    targets = (labels + 1) % classes
    plain = DLRObjective(lambda x: x, labels)(logits)
    aimed = TargetedDLRObjective(lambda x: x, labels, targets)(logits)
    for i in range(6):
        z, y, t = logits[i].double().numpy(), int(labels[i]), int(targets[i])
        down = np.sort(z)[::-1]
        expected = -(z[y] - max(z[k] for k in range(classes) if k != y)) / (down[0] - down[2])
        assert float(plain[i]) == pytest.approx(expected, rel=1e-5)
        assert float(aimed[i]) == pytest.approx(-(z[y] - z[t]) / (down[0] - (down[2] + down[3]) / 2), rel=1e-5)
    shifted = DLRObjective(lambda x: 1000 * x + 3, labels)(logits)
    torch.testing.assert_close(shifted, plain, rtol=1e-3, atol=1e-4)
    assert DLRObjective(lambda x: x, labels)(torch.zeros(6, classes)).abs().max() == 0
    part = torch.tensor([4, 1])
    torch.testing.assert_close(
        TargetedDLRObjective(lambda x: x, labels, targets).select(part)(logits[part]), aimed[part]
    )


def test_objectives_agree_about_what_is_lost() -> None:
    logits = torch.randn(50, 5, generator=seeded())
    labels = torch.randint(5, (50,), generator=seeded(1))
    margin = MarginObjective(lambda x: x, labels)
    assert torch.equal(margin(logits) > 0, margin.broken(logits))
    for kind in (CrossEntropyObjective, DLRObjective, MarginObjective):
        losses, broken = kind(lambda x: x, labels).judged(logits)
        assert torch.equal(broken, margin.broken(logits))
        assert torch.equal(losses, kind(lambda x: x, labels)(logits))


def test_largest_scale_leaves_the_error_signal() -> None:
    for classes, gap in ((2, 3.0), (10, 0.5), (100, 40.0)):
        logits = torch.full((classes,), -gap, dtype=torch.float64)
        logits[0] = 0
        beta = largest_scale(torch.tensor(gap, dtype=torch.float64), classes)
        assert float(1 - (beta * logits).softmax(0)[0]) == pytest.approx(0.01)


def _linear(scale: float, classes: int = 5) -> nn.Module:
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, classes, bias=False))
    net[1].weight.data = scale * torch.randn(classes, 192, generator=seeded())
    return net


def test_jacobian_scale_of_a_linear_model() -> None:
    net = _linear(1e-3)  # so small that no softmax saturates at β
    images, labels = generated(6)
    mean = np.linalg.svd(net[1].weight.detach().numpy(), compute_uv=False).mean()
    scales = NJS().scales(net, images, net(images).argmax(1))
    logits = net(images).detach() / mean
    for i in range(6):
        z = logits[i].double().numpy()
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        expected = 1 / mean
        if 1 - p[z.argmax()] < 0.01:
            expected = min(expected, -math.log(0.01 / (0.99 * 4)) / (np.ptp(z) * mean))
        assert float(scales[i]) == pytest.approx(expected, rel=1e-4)
    assert NJS().scales(lambda x: 0 * net(x), images, labels).tolist() == [1] * 6


def test_hessian_scale_maximises_the_hessian() -> None:
    net = _linear(0.3)
    images, labels = generated(3)
    scales = HNS().scales(net, images, labels)

    def norm(index: int, beta: float) -> float:
        def loss(x: Tensor) -> Tensor:
            return nn.functional.cross_entropy(beta * net(x[None]), labels[index : index + 1])

        return float(torch.autograd.functional.hessian(loss, images[index]).norm())

    for i in range(3):
        top = net(images)[i].detach().sort(descending=True).values
        end = float(largest_scale(torch.maximum(top[0] - top[1], 1e-3 * (top[0] - top[-1])), 5))
        grid = [end * 10 ** (-3 + 3 * k / (GRID - 1)) for k in range(GRID)]
        best = max(norm(i, beta) for beta in grid[:: GRID // 10])
        assert norm(i, float(scales[i])) >= best * 0.999
        assert min(abs(float(scales[i]) / beta - 1) for beta in grid) < 1e-4
    constant = HNS().scales(lambda x: 0 * net(x), images, labels)
    assert constant.tolist() == [1] * 3


@pytest.mark.parametrize("temperature", [NJS(), HNS()], ids=["NJS", "HNS"])
def test_temperature_undoes_huge_logits(temperature: NJS | HNS) -> None:
    images, labels = generated(100)
    small, eps = real_net(), 0.07
    plain = int(PGD(10)(CrossEntropyObjective(small, labels), images, eps, seeded()).broken.sum())
    huge = CrossEntropyObjective(lambda x: 1e4 * small(x), labels)
    masked = int(PGD(10)(huge, images, eps, seeded()).broken.sum())
    scaled = int(TemperatureScaled(PGD(10), temperature)(huge, images, eps, seeded()).broken.sum())
    assert plain > 50
    assert masked < plain / 2
    assert scaled > 0.75 * plain


def test_ties_do_not_make_temperatures_infinite() -> None:
    images, labels = generated(4)
    net = _linear(1.0)
    net[1].weight.data[1] = net[1].weight.data[0]
    for temperature in (NJS(), HNS()):
        scales = temperature.scales(net, images, labels)
        assert scales.isfinite().all()
        assert (scales > 0).all()
