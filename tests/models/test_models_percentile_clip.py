"""FQN's percentile range against order statistics in numpy."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn_tasks.models import FPN
from bnn_tasks.models.percentile_clip import PercentileClip


def batches(count: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 3, 7, 9, generator=generator) * (k + 1) for k in range(count)]


def bounds(x: Tensor, gamma: float) -> np.ndarray:
    values = np.sort(x.double().numpy().ravel())
    rank = round(gamma * (len(values) - 1))
    return np.array([values[-1 - rank], values[rank]])


@pytest.mark.parametrize("gamma", [0.999, 0.9, 1.0])
def test_the_range_is_calibrated_then_averaged(gamma: float) -> None:
    clip = PercentileClip(gamma, batches=3, rate=0.25).train()
    calibration, later = batches(5)[:3], batches(5)[3:]
    for x in calibration:
        assert torch.equal(clip(x), x), "nothing is clipped yet"
    wanted = np.mean([bounds(x, gamma) for x in calibration], axis=0)
    np.testing.assert_allclose([float(clip.low), float(clip.high)], wanted, rtol=1e-6)
    for x in later:
        wanted = wanted + 0.25 * (bounds(x, gamma) - wanted)
        np.testing.assert_allclose(clip(x).numpy(), np.clip(x.numpy(), *wanted), rtol=1e-6)
    np.testing.assert_allclose([float(clip.low), float(clip.high)], wanted, rtol=1e-6)


def test_evaluation_is_one_hardtanh_and_changes_nothing() -> None:
    clip = PercentileClip(0.9).train()
    x = batches(2)[1]
    untrained = PercentileClip().eval()
    assert torch.equal(untrained(x), x), "without a range nothing is clipped"
    clip(batches(1)[0])
    state = {name: tensor.clone() for name, tensor in clip.state_dict().items()}
    y = clip.eval()(x)
    assert torch.equal(y, F.hardtanh(x, float(clip.low), float(clip.high)))
    assert not torch.equal(y, x)
    assert all(torch.equal(tensor, state[name]) for name, tensor in clip.state_dict().items())


def test_gradient_inside_alone() -> None:
    clip = PercentileClip(0.9, batches=1, rate=0.0).train()
    x = batches(1)[0]
    clip(x)
    x = x.clone().requires_grad_()
    clip(x).sum().backward()
    low, high = bounds(x.detach(), 0.9)
    values = x.detach().numpy()
    inside, apart = (values > low) & (values < high), (values != low) & (values != high)
    assert np.array_equal(x.grad.numpy()[apart], inside.astype(np.float32)[apart])
    assert inside.any()
    assert not inside.all()


def test_bfloat16_stays() -> None:
    clip = PercentileClip(batches=1).train()
    for x in batches(3):
        assert clip(x.bfloat16()).dtype == torch.bfloat16
    assert clip.low.dtype == torch.float32


@pytest.mark.parametrize("arguments", [{"gamma": 0.5}, {"gamma": 1.1}, {"batches": 0}, {"rate": -0.1}, {"rate": 1.5}])
def test_arguments_out_of_range(arguments: dict) -> None:
    ((name, value),) = arguments.items()
    with pytest.raises(ValueError, match=f"Expected .*but got .*{name}={value}"):
        PercentileClip(**arguments)


def test_the_pyramid_clips_its_laterals() -> None:
    """Against the same pyramid whose lateral maps are clipped by hand."""
    torch.manual_seed(0)
    fpn = FPN([4, 6], 8, clip=partial(nn.Hardtanh, -0.3, 0.2)).eval()
    plain = FPN([4, 6], 8).eval()
    plain.load_state_dict(fpn.state_dict())
    maps = [torch.randn(1, 4, 8, 8), torch.randn(1, 6, 4, 4)]
    fine, coarse = (plain.laterals[i](maps[i]).clamp(-0.3, 0.2) for i in range(2))
    merged = fine + coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    with torch.no_grad():
        found = fpn(maps)
        wanted = [plain.outputs[0](merged), plain.outputs[1](coarse)]
        assert not torch.allclose(plain(maps)[0], found[0])
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b)


def test_percentile_clips_have_a_range_of_their_own() -> None:
    torch.manual_seed(0)
    fpn = FPN([4, 6], 8, clip=PercentileClip).train()
    fpn([torch.randn(2, 4, 8, 8), torch.randn(2, 6, 4, 4)])
    assert float(fpn.clips[0].high) != float(fpn.clips[1].high)
    assert {"clips.0.low", "clips.1.high"} <= set(fpn.state_dict())
