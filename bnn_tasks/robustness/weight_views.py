"""The linear maps of a net as matrices: latent weights, what is multiplied by, that with its BatchNorm folded in."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnn_tasks.binary import BinaryConv2d, BinaryLinear
from bnn_tasks.robustness.frozen import frozen

WeightLayer = BinaryConv2d | BinaryLinear | nn.Conv2d | nn.Linear


def weight_layers(model: nn.Module) -> dict[str, WeightLayer]:
    """The convolutions and linear layers that are looked at, binary and real, by name.

    Left out on purpose: depthwise convolutions, whose filters read different channels and are orthogonal as they are, and real
    1×1 convolutions, which in these nets are the paths around binary layers and are to carry, not to mix.

    Args:
        model: the net.
    """
    found: dict[str, WeightLayer] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, BinaryConv2d | nn.Conv2d) and 1 < layer.groups == layer.in_channels:
            continue
        if isinstance(layer, nn.Conv2d) and tuple(layer.kernel_size) == (1, 1):
            continue
        if isinstance(layer, BinaryConv2d | BinaryLinear | nn.Conv2d | nn.Linear):
            found[name] = layer
    return found


def _groups(layer: WeightLayer) -> int:
    return layer.groups if isinstance(layer, BinaryConv2d | nn.Conv2d) else 1


def _matrix(layer: WeightLayer, weight: Tensor) -> Tensor:
    """(G, O/G, n) float32 of a weight (O, ...): a grouped convolution is G maps side by side."""
    groups = _groups(layer)
    return weight.float().reshape(groups, weight.shape[0] // groups, -1)


def _multiplied(layer: WeightLayer) -> Tensor:
    """W̃, (O, ...): what a layer multiplies by, with its method's gradients."""
    if isinstance(layer, BinaryConv2d | BinaryLinear):
        weight: Tensor = layer.weight_binarizer(layer.weight)
        return weight
    return layer.weight


class WeightView:
    """Base class: which matrices stand for a net's layers.

    A convolution's is its kernel, (O, C/groups·kh·kw). Its norm is not quite the convolution's own, which also depends on how
    the windows overlap.

    Attributes:
        name: under which results are reported.
    """

    name: str

    def matrices(self, model: nn.Module, images: Tensor) -> dict[str, Tensor]:
        """(G, O/G, n) float32 by the layer's name, differentiable; layers are those of `weight_layers`.

        Args:
            model: the net.
            images: (B, C, H, W) in [0, 1], B >= 1; the first is run where the net's wiring must be seen.
        """
        raise NotImplementedError


class LatentWeights(WeightView):
    """W itself: of a binary layer the real weight behind the signs, which the forward pass never multiplies by."""

    name = "latent"

    def matrices(self, model: nn.Module, images: Tensor) -> dict[str, Tensor]:
        """See `WeightView`."""
        return {name: _matrix(layer, layer.weight) for name, layer in weight_layers(model).items()}


class ScaledBinaryWeights(WeightView):
    """W̃ = α·sign(W), with the gradient of the layer's method; of a real layer W.

    Scales of an output's place (XNOR-Net++) or of the input (XNOR-Net's K) are no part of it. A method that has not hardened
    yet multiplies by something softer, and that is what is taken.
    """

    name = "scaled_binary"

    def matrices(self, model: nn.Module, images: Tensor) -> dict[str, Tensor]:
        """See `WeightView`."""
        return {name: _matrix(layer, _multiplied(layer)) for name, layer in weight_layers(model).items()}


class EffectiveWeights(WeightView):
    """diag(γ/σ)·W̃: `ScaledBinaryWeights` with the BatchNorm that reads the layer folded in, σ² = running variance + ε.

    σ is held constant, γ learns. A layer that no BatchNorm with running statistics reads directly (the classifier, or a
    convolution with pooling behind it) keeps W̃; of several that read it, the first in the forward pass counts. The powers of
    two of `ShiftBatchNorm2d` are taken unrounded.
    """

    name = "effective"

    def __init__(self) -> None:
        # Wiring does not change in training: it is looked at once a net, and forgotten with it.
        self._readers: WeakKeyDictionary[nn.Module, dict[str, str]] = WeakKeyDictionary()

    def __reduce__(self) -> tuple[type["EffectiveWeights"], tuple[()]]:
        """Copies and pickles start without what was looked at: weak references can be neither copied nor stored."""
        return type(self), ()

    def matrices(self, model: nn.Module, images: Tensor) -> dict[str, Tensor]:
        """See `WeightView`."""
        if model not in self._readers:
            self._readers[model] = batchnorm_readers(model, images[:1])
        readers = self._readers[model]
        found = {}
        for name, layer in weight_layers(model).items():
            matrix = _matrix(layer, _multiplied(layer))
            if name in readers:
                gain = _gain(model.get_submodule(readers[name]))
                matrix = matrix * gain.view(matrix.shape[0], matrix.shape[1], 1)
            found[name] = matrix
        return found


def _gain(norm: nn.Module) -> Tensor:
    """γ/σ of a BatchNorm, (O,)."""
    assert isinstance(norm, _BatchNorm)
    assert norm.running_var is not None
    inverse = torch.rsqrt(norm.running_var.float() + norm.eps)
    return inverse if norm.weight is None else norm.weight.float() * inverse


def batchnorm_readers(model: nn.Module, images: Tensor) -> dict[str, str]:
    """Names of convolutions and linear layers -> names of the BatchNorms whose input is their output, from one forward pass.

    Args:
        model: the net; held in evaluation mode for the pass.
        images: (B, C, H, W) in [0, 1].
    """
    outputs: list[tuple[str, Tensor]] = []  # kept alive, so that an address means one tensor
    readers: dict[str, str] = {}

    def look(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(module, _BatchNorm):
                source = next((layer for layer, tensor in outputs if tensor is inputs[0]), None)
                if source is not None:
                    readers.setdefault(source, name)
            else:
                outputs.append((name, output))

        return hook

    layers: dict[str, nn.Module] = dict(weight_layers(model))
    norms = {
        name: part
        for name, part in model.named_modules()
        if isinstance(part, _BatchNorm) and part.running_var is not None
    }
    with _hooked({name: (part, look(name)) for name, part in (layers | norms).items()}), frozen(model), torch.no_grad():
        model(images)
    return readers


@contextmanager
def _hooked(hooks: dict[str, tuple[nn.Module, Any]]) -> Iterator[None]:
    handles = [part.register_forward_hook(hook) for part, hook in hooks.values()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
