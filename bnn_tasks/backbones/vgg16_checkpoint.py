"""Start a `VGG16` of any unit from a float checkpoint: torchvision's VGG-16, with or without BatchNorm."""

import logging
import re

import torch
from torch import Tensor, nn

from bnn_tasks.backbones.units import Unit
from bnn_tasks.backbones.vgg16 import VGG16
from bnn_tasks.binary import BinaryConv2d
from bnn_tasks.binary.start import LoadReport

CONVOLUTIONS = 13

_log = logging.getLogger(__name__)
_FEATURE = re.compile(r"features\.(\d+)\.weight")


def _decimated(weight: Tensor, bias: Tensor, layer: nn.Conv2d | BinaryConv2d) -> tuple[Tensor, Tensor]:
    """A fully-connected layer on 7×7 (fc6) or 1×1 (fc7) maps as a convolution of fewer channels and taps, evenly chosen.

    Liu et al. (SSD, 2016, §3) "subsample parameters from fc6 and fc7": every third tap, every fourth of 4096 channels.
    """
    side = 7 if layer.kernel_size[0] == 3 else 1
    kernel = weight.view(len(weight), -1, side, side)
    outputs, inputs = max(len(kernel) // layer.out_channels, 1), max(kernel.shape[1] // layer.in_channels, 1)
    return kernel[::outputs, ::inputs, ::3, ::3], bias[::outputs]


def _names(backbone: VGG16) -> list[tuple[str, str]]:
    """Names of convolution and BatchNorm of every layer that is built, in order."""
    units = [name for name, module in backbone.named_modules() if isinstance(module, Unit)]
    return [("conv1_1", "bn1_1"), *((f"{name}.conv", f"{name}.bn") for name in units)]


@torch.no_grad()
def load_vgg16_state_dict(backbone: VGG16, state: dict[str, Tensor]) -> LoadReport:
    """Copy a float VGG-16's tensors into a backbone of the same width.

    Weights become the latent weights. Each BatchNorm takes the checkpoint's, less the convolution's bias; of a checkpoint
    without BatchNorm it becomes the identity, with the bias; the pools' BatchNorms keep what they have, the identity (but for
    their eps) if fresh. conv6 and conv7 are subsampled from fc6 and fc7 where the checkpoint
    has them; its classifier is left out.

    Args:
        backbone: what to fill.
        state: state_dict of ``torchvision.models.vgg16`` or ``vgg16_bn``.

    Returns:
        What was loaded, left out and kept; also logged.

    Raises:
        TypeError: `backbone` is no `VGG16`.
        ValueError: the checkpoint is of another network, or a shape differs.
    """
    if not isinstance(backbone, VGG16):
        raise TypeError(f"Expected `backbone` to be a VGG16, but got a {type(backbone).__name__}.")
    indices = sorted(int(m[1]) for m in map(_FEATURE.fullmatch, state) if m and state[m[0]].dim() == 4)
    if len(indices) != CONVOLUTIONS:
        raise ValueError(
            f"Expected the checkpoint of a VGG-16, with {CONVOLUTIONS} convolutions named features.N.weight, but it has "
            f"{len(indices)}. Cure: torchvision.models.vgg16(...).state_dict()."
        )
    names = _names(backbone)
    loaded: list[str] = []
    used: set[str] = set()
    for index, (conv, bn) in zip(indices, names[:CONVOLUTIONS], strict=False):
        name, norm = f"features.{index}", f"features.{index + 1}"
        bias = state[f"{name}.bias"]
        statistics = None
        if f"{norm}.running_mean" in state:
            statistics = {key: state[f"{norm}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")}
            used |= {f"{norm}.{key}" for key in (*statistics, "num_batches_tracked")}
        loaded += _fill(backbone, conv, bn, name, state[f"{name}.weight"], bias, statistics)
        used |= {f"{name}.weight", f"{name}.bias"}
    for number, (conv, bn) in zip((0, 3), names[CONVOLUTIONS:], strict=False):
        name = f"classifier.{number}"
        if f"{name}.weight" in state:
            layer = backbone.get_submodule(conv)
            assert isinstance(layer, nn.Conv2d | BinaryConv2d)
            weight, bias = _decimated(state[f"{name}.weight"], state[f"{name}.bias"], layer)
            loaded += _fill(backbone, conv, bn, name, weight, bias, None)
            used |= {f"{name}.weight", f"{name}.bias"}
    report = LoadReport(sorted(loaded), sorted(set(state) - used), sorted(set(backbone.state_dict()) - set(loaded)))
    _log.info("%s", report)
    return report


def _fill(
    backbone: VGG16,
    conv: str,
    bn: str,
    source: str,
    weight: Tensor,
    bias: Tensor,
    statistics: dict[str, Tensor] | None,
) -> list[str]:
    """Set one convolution and its BatchNorm; names of what was set."""
    layer, norm = backbone.get_submodule(conv), backbone.get_submodule(bn)
    assert isinstance(layer, nn.Conv2d | BinaryConv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    shape = (layer.out_channels, layer.in_channels, *layer.kernel_size)
    if weight.shape != shape:
        raise ValueError(
            f"Expected {source + '.weight'!r} to give {conv!r} a weight of shape {shape}, but it gives {tuple(weight.shape)}. "
            "Cure: build the backbone with the checkpoint's width (64 for torchvision's VGG-16)."
        )
    if isinstance(layer, BinaryConv2d):
        layer.load_float(weight, None)
    else:
        layer.weight.copy_(weight)
    if statistics is None:
        ones = torch.ones_like(bias)
        statistics = {"weight": (ones + norm.eps).sqrt(), "bias": bias, "running_mean": 0 * ones, "running_var": ones}
    else:
        statistics = statistics | {"running_mean": statistics["running_mean"] - bias}
    norm.load_state_dict(statistics, strict=False)
    return [f"{conv}.weight", *(f"{bn}.{key}" for key in statistics)]
