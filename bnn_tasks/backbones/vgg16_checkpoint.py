"""What a `VGG16` of any unit takes from a float checkpoint: torchvision's VGG-16, with or without BatchNorm."""

import re

import torch
from torch import Tensor, nn

from bnn_tasks.backbones.state_dicts import check_channels, check_names
from bnn_tasks.backbones.units import Unit
from bnn_tasks.backbones.vgg16 import VGG16
from bnn_tasks.binary import BinaryConv2d

CONVOLUTIONS = 13
STATISTICS = ("weight", "bias", "running_mean", "running_var")

_FEATURE = re.compile(r"features\.(\d+)\.\w+")
_CLASSIFIER = re.compile(r"classifier\.\d+\.\w+")


def _layers(backbone: VGG16) -> list[tuple[str, str]]:
    """Names of convolution and BatchNorm of every layer that is built, in order."""
    units = [name for name, module in backbone.named_modules() if isinstance(module, Unit)]
    return [("conv1_1", "bn1_1"), *((f"{name}.conv", f"{name}.bn") for name in units)]


def _indices(state: dict[str, Tensor]) -> list[int]:
    """Numbers of the convolutions among ``features``; ValueError if they are not VGG-16's or something else is there too."""
    check_names(state, "features.0.weight", "features.0.bias")
    features = {name: int(match[1]) for name in state if (match := _FEATURE.fullmatch(name))}
    indices = sorted(n for name, n in features.items() if name.endswith(".weight") and state[name].dim() == 4)
    if len(indices) != CONVOLUTIONS:
        raise ValueError(
            f"Expected the checkpoint of a VGG-16, with {CONVOLUTIONS} convolutions named features.N.weight, but it has "
            f"{len(indices)}. Cure: torchvision.models.vgg16(...).state_dict()."
        )
    places = {*indices, *(index + 1 for index in indices)}  # a BatchNorm stands right behind its convolution
    foreign = [name for name in state if features.get(name) not in places and not _CLASSIFIER.fullmatch(name)]
    if foreign:
        raise ValueError(
            f"Expected the checkpoint of torchvision's VGG-16, but {foreign[0]!r} has no place in one. Cure: of another "
            "library's, the tensors whose names start with 'features.' alone."
        )
    return indices


def _fitting(name: str, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tensor.shape != shape:
        raise ValueError(
            f"Expected {name!r} to give a tensor of shape {shape}, but it gives {tuple(tensor.shape)}. "
            "Cure: build the backbone with the checkpoint's width (64 for torchvision's VGG-16)."
        )
    return tensor


def _decimated(name: str, weight: Tensor, bias: Tensor, layer: nn.Conv2d | BinaryConv2d) -> tuple[Tensor, Tensor]:
    """A fully-connected layer on 7×7 (fc6) or 1×1 (fc7) maps as a convolution of fewer channels and taps, evenly chosen.

    Liu et al. (SSD, 2016, §3) "subsample parameters from fc6 and fc7": every third tap, every fourth of 4096 channels.
    """
    side = 7 if layer.kernel_size[0] == 3 else 1
    if weight.dim() != 2 or weight.shape[1] % side**2 or bias.shape != weight.shape[:1]:
        raise ValueError(
            f"Expected {name!r} to be a fully-connected layer on {side}×{side} maps, but its weight and bias have shapes "
            f"{tuple(weight.shape)} and {tuple(bias.shape)}. Cure: leave out the names that start with 'classifier.'."
        )
    kernel = weight.view(len(weight), -1, side, side)
    outputs, inputs = max(len(kernel) // layer.out_channels, 1), max(kernel.shape[1] // layer.in_channels, 1)
    return kernel[::outputs, ::inputs, ::3, ::3], bias[::outputs]


def vgg16_tensors(backbone: VGG16, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The backbone's tensors, strictly.

    Each BatchNorm is the checkpoint's, less the convolution's bias; of a checkpoint without BatchNorm it is the identity, with
    the bias. conv6 and conv7 are subsampled from fc6 and fc7 where the checkpoint has them. The pools' BatchNorms are not
    among them: they keep what they have, the identity (but for their eps) if fresh.

    Args:
        backbone: of the checkpoint's width.
        state: state_dict of ``torchvision.models.vgg16`` or ``vgg16_bn``.

    Returns:
        Tensors by their names in the backbone, of the shapes of a float one's; names in the checkpoint of what is left out:
        fc8, and layers that were not built.

    Raises:
        ValueError: the checkpoint is of another network, a shape differs, or a tensor is missing.
    """
    indices = _indices(state)
    batch_norm = any(".running_" in name for name in state)
    sources = [(f"features.{index}", f"features.{index + 1}" if batch_norm else None) for index in indices]
    layers = list(zip(sources, _layers(backbone), strict=False))
    for source, own in zip(("classifier.0", "classifier.3"), _layers(backbone)[CONVOLUTIONS:], strict=False):
        if f"{source}.weight" in state:
            layers.append(((source, None), own))
    used = {f"{source}.{key}" for (source, _), _ in layers for key in ("weight", "bias")}
    used |= {f"{norm}.{key}" for (_, norm), _ in layers for key in STATISTICS if norm is not None}
    if missing := sorted(used - state.keys()):
        raise ValueError(f"Expected the checkpoint to have every tensor of a VGG-16, but it lacks {missing}.")
    first = f"{sources[0][0]}.weight"
    check_channels(first, state[first], backbone.conv1_1.in_channels)
    tensors: dict[str, Tensor] = {}
    for (source, norm), (conv, bn) in layers:
        layer, batchnorm = backbone.get_submodule(conv), backbone.get_submodule(bn)
        assert isinstance(layer, nn.Conv2d | BinaryConv2d)
        assert isinstance(batchnorm, nn.BatchNorm2d)
        weight, bias = state[f"{source}.weight"], state[f"{source}.bias"]
        if source.startswith("classifier."):
            weight, bias = _decimated(source, weight, bias, layer)
        shape = (layer.out_channels, layer.in_channels, *layer.kernel_size)
        tensors[f"{conv}.weight"] = _fitting(f"{source}.weight", weight, shape)
        bias = _fitting(f"{source}.bias", bias, shape[:1])
        if norm is None:
            ones = torch.ones_like(bias)
            values = {
                "weight": (ones + batchnorm.eps).sqrt(),
                "bias": bias,
                "running_mean": 0 * ones,
                "running_var": ones,
            }
        else:
            values = {key: _fitting(f"{norm}.{key}", state[f"{norm}.{key}"], shape[:1]) for key in STATISTICS}
            values["running_mean"] = values["running_mean"] - bias
            counter = f"{norm}.num_batches_tracked"
            if counter in state:
                values["num_batches_tracked"] = _fitting(counter, state[counter], ())
                used.add(counter)
        tensors |= {f"{bn}.{key}": value for key, value in values.items()}
    return tensors, sorted(state.keys() - used)
