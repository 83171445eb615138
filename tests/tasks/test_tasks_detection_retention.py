"""The retention probe beside numpy's least squares, and where its answer is known."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from nets import retinanet, shake
from torch import Tensor, nn

from bnn_tasks.backbones import RealBlock, RealUnit
from bnn_tasks.models import Detector
from bnn_tasks.tasks.retention import retention
from bnn_tasks.tasks.retention_moments import Moments, held_out_r2


@dataclass
class Batch:
    images: Tensor


class Backbone(nn.Module):
    """Maps by a function of the images, at strides 1 and 2."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return [self.function(x), self.function(x[:, :, ::2, ::2])]


class Net(Detector):
    def __init__(self, function, pyramid=lambda maps: [maps[0]]):
        super().__init__()
        self.backbone, self.pyramid = Backbone(function), pyramid

    def features(self, images):
        return self.pyramid(self.backbone(images))


def batches(sizes=(3, 4, 2), shape=(6, 8), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [Batch(torch.rand(size, 3, *shape, generator=generator)) for size in sizes]


def noise(channels, seed):
    """Depends on the image, and on nothing that a linear map of another seed's noise could find."""

    def function(x):
        rows = [torch.Generator().manual_seed(seed + int(1e6 * float(image.sum()))) for image in x]
        return torch.stack([torch.randn(channels, *x.shape[2:], generator=row) for row in rows])

    return function


def test_a_linear_transform_of_the_twin_keeps_everything():
    torch.manual_seed(0)
    twin = noise(5, 0)
    mix, offset = torch.randn(7, 5), 100 * torch.randn(7, 1, 1)
    ours = Net(lambda x: torch.einsum("dc,nchw->ndhw", mix, twin(x)) * 1e3 + offset)
    result = retention(ours, Net(twin), batches())
    assert [level.level for level in result.levels] == ["backbone.0", "backbone.1", "pyramid.0"]
    for level in result.levels:
        assert level.r2 == pytest.approx(1, abs=1e-4)
        assert (level.channels, level.twin_channels) == (7, 5)
    assert (result.fitted, result.held_out) == (5, 4)
    assert [(level.size, level.positions) for level in result.levels] == [
        ((6, 8), 4 * 48),
        ((3, 4), 4 * 12),
        ((6, 8), 4 * 48),
    ]
    assert "backbone.1" in str(result)


def test_independent_noise_keeps_nothing():
    result = retention(Net(noise(6, 0)), Net(noise(4, 99)), batches(sizes=(8, 8), shape=(20, 20)))
    for level in result.levels:
        assert -0.15 < level.r2 <= 0.001


def test_half_of_the_variance():
    """y = x + n with n of x's variance: R² is 1/2."""
    x, n = noise(3, 0), noise(3, 7)
    result = retention(Net(x), Net(lambda images: x(images) + n(images)), batches(sizes=(8, 8, 8), shape=(24, 24)))
    assert result.levels[0].r2 == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_equals_numpys_least_squares(ridge):
    x, y = noise(4, 0), noise(2, 3)

    def net(images):
        return 5 + 3 * x(images)

    def twin(images):
        return torch.cat([y(images) + x(images)[:, :2] - 20, 1e-3 * x(images)[:, 2:3] + 1e-3 * y(images)[:, :1]], 1)

    data = batches(sizes=(3, 4, 2))
    result = retention(Net(net), Net(twin), data, ridge)
    images = torch.cat([batch.images for batch in data])
    a, b = (f(images).double().permute(0, 2, 3, 1).numpy() for f in (net, twin))
    fit_a, fit_b, out_a, out_b = (v[k::2].reshape(-1, v.shape[-1]) for k in (0, 1) for v in (a, b))
    scaled_a, scaled_out = ((v - fit_a.mean(0)) / fit_a.std(0) for v in (fit_a, out_a))
    target, target_out = ((v - fit_b.mean(0)) / fit_b.std(0) for v in (fit_b, out_b))
    # Ridge as rows of data: sqrt(n · ridge) in each channel asks for 0.
    rows = np.sqrt(ridge * len(scaled_a)) * np.eye(4)
    weight = np.linalg.lstsq(np.concatenate([scaled_a, rows]), np.concatenate([target, np.zeros((4, 3))]), rcond=None)[
        0
    ]
    left = ((target_out - scaled_out @ weight) ** 2).sum()
    total = ((target_out - target_out.mean(0)) ** 2).sum()
    assert result.levels[0].r2 == pytest.approx(1 - left / total, abs=1e-9)
    assert 0.2 < result.levels[0].r2 < 0.9


def test_moments_do_not_depend_on_the_parts():
    rng = np.random.default_rng(0)
    x, y = (torch.from_numpy(1e4 + rng.normal(size=(60, k))) for k in (3, 2))
    whole, parts = Moments(3, 2), Moments(3, 2)
    whole.add(x, y)
    for start, stop in ((0, 1), (1, 1), (1, 40), (40, 60)):
        parts.add(x[start:stop], y[start:stop])
    z = torch.cat([x, y], 1).numpy()
    for moments in (whole, parts):
        assert moments.count == 60
        np.testing.assert_allclose(moments.mean, z.mean(0), rtol=1e-12)
        np.testing.assert_allclose(moments.scatter, np.cov(z.T, bias=True) * 60, rtol=1e-7, atol=1e-7)


def test_copies_and_constants():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 2))
    y = torch.from_numpy(np.hstack([x @ [[1.0], [2.0]], np.full((40, 1), 3.0)]))
    doubled = torch.from_numpy(np.hstack([x, x, np.full((40, 1), 1e3), np.zeros((40, 1))]))
    fitted, other = Moments(6, 2), Moments(6, 2)
    fitted.add(doubled[:20], y[:20])
    other.add(doubled[20:], y[20:])
    assert held_out_r2(fitted, other, 0.0) == pytest.approx(1)
    flat, flat_out = Moments(6, 1), Moments(6, 1)
    flat.add(doubled[:20], y[:20, 1:])
    flat_out.add(doubled[20:], y[20:, 1:])
    assert math.isnan(held_out_r2(flat, flat_out, 0.0))


def test_detectors_of_ours():
    torch.manual_seed(0)
    net, twin = shake(retinanet(width=4, channels=6)), shake(retinanet(3, RealBlock, RealUnit, 8, 8), seed=1)
    data = batches(sizes=(3, 2), shape=(64, 64))
    result = retention(net, twin, data)
    stages, levels = len(twin.backbone.feature_info.channels()), twin.neck.levels
    assert len(result.levels) == stages + levels
    assert [level.twin_channels for level in result.levels] == [*twin.backbone.feature_info.channels(), *[8] * levels]
    for level in retention(twin, twin, data).levels:
        if level.positions > 50:
            assert level.r2 == pytest.approx(1, abs=1e-3), level


def test_what_cannot_be_compared_is_refused():
    same = noise(2, 0)
    with pytest.raises(ValueError, match=r"maps of the same sizes, but got .*pyramid.0 6x8.* and .*pyramid.0 3x4"):
        retention(Net(same), Net(same, lambda maps: [maps[1]]), batches())
    with pytest.raises(ValueError, match="maps of the same sizes"):
        retention(Net(same), Net(same, lambda maps: maps), batches())
    with pytest.raises(ValueError, match=r"at least two images, .* but got 1"):
        retention(Net(same), Net(same), batches(sizes=(1,)))
    with pytest.raises(ValueError, match="`ridge` to be >= 0, but got -1"):
        retention(Net(same), Net(same), batches(), -1)
