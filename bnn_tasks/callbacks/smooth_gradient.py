"""The gradient of a task's loss on its latent weights: as training takes it, and with a smooth sign of the weights."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bnn_tasks.binary import BinaryConv2d, BinaryLinear
from bnn_tasks.tasks import Task

Layer = BinaryConv2d | BinaryLinear


def binary_layers(task: Task) -> dict[str, Layer]:
    """The binary layers of a task's model, by name."""
    return {name: m for name, m in task.model.named_modules() if isinstance(m, BinaryConv2d | BinaryLinear)}


def weight_signs(layer: Layer) -> Tensor:
    """The signs of all bases of a layer, (O, n) ±1; while a method hardens, those of its latent weights."""
    weight = layer.weight.detach()
    if not layer.weight_binarizer.ready:
        return torch.where(weight >= 0, 1.0, -1.0).flatten(1)
    return torch.cat([basis.signs.flatten(1) for basis in layer.weight_binarizer.bases(weight)], dim=1)


def _smooth(layer: Layer, sharpness: float) -> Callable[[Tensor], Tensor] | None:
    """W -> α·tanh(k·u) in place of α·sign(u); None where the layer's signs are neither W's nor those of its deviations."""
    if not layer.weight_binarizer.ready:
        return None
    bases = layer.weight_binarizer.bases(layer.weight.detach())
    if len(bases) != 1:
        return None
    signs, scale = bases[0].signs, bases[0].scale
    alpha = 1.0 if scale is None else scale.detach().view(-1, *[1] * (signs.dim() - 1))

    def deviation(weight: Tensor) -> Tensor:
        return weight - weight.mean(dim=tuple(range(1, weight.dim())), keepdim=True)

    def identity(weight: Tensor) -> Tensor:
        return weight

    for operand in (identity, deviation):
        u = operand(layer.weight.detach())
        if torch.equal(u >= 0, signs > 0):
            k = sharpness / u.abs().mean().clamp_min(1e-12)
            return lambda weight, operand=operand: alpha * torch.tanh(k * operand(weight))  # type: ignore[misc]
    return None


@contextmanager
def _replaced(layers: Mapping[str, Layer], smooth: Mapping[str, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    handles = []
    for name, function in smooth.items():

        def replace(module: nn.Module, inputs: Any, output: Tensor, function: Any = function) -> Tensor:
            replaced: Tensor = function(inputs[0])
            return replaced

        handles.append(layers[name].weight_binarizer.register_forward_hook(replace))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _undisturbed(task: Task) -> Iterator[None]:
    """Float32, and afterwards the same buffers (BatchNorm's statistics) and random numbers as before."""
    buffers = [buffer.clone() for buffer in task.model.buffers()]
    devices = [task.device] if task.device.type == "cuda" else []
    with torch.random.fork_rng(devices), task.full_precision(), torch.enable_grad():
        try:
            yield
        finally:
            for buffer, before in zip(task.model.buffers(), buffers, strict=True):
                buffer.copy_(before)


def _gradients(task: Task, batch: Any, layers: Mapping[str, Layer]) -> dict[str, Tensor]:
    losses = task.losses(task(batch.images.float()), batch)
    total = torch.stack(list(losses.values())).sum()
    wanted = {name: layer.weight for name, layer in layers.items() if layer.weight.requires_grad}
    found = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
    return {name: g for name, g in zip(wanted, found, strict=True) if g is not None}


def gradient_pairs(task: Task, batch: Any, sharpness: float) -> dict[str, tuple[Tensor, Tensor]]:
    """Of each binary layer the gradient g on its latent weight, and ĝ, that with a smooth sign, at the same point.

    g is what training follows (the method's own surrogate, in float32). For ĝ the weight's α·sign(u) is replaced by
    α·tanh(k·u) in the forward of all layers at once, and differentiated exactly; k = sharpness / mean(abs(u)) of the layer, α
    is held constant, activations keep their signs and surrogates. u is the latent weight, or its deviation from its filter's
    mean, whichever has the layer's signs; a layer whose method does neither (several bases, rotations, not yet binary) is
    left out, and keeps its own weights in the forward.

    Args:
        task: in training mode; neither it nor its buffers are changed.
        batch: of its data.
        sharpness: of tanh, > 0.
    """
    layers = binary_layers(task)
    smooth = {name: f for name, layer in layers.items() if (f := _smooth(layer, sharpness)) is not None}
    chosen = {name: layers[name] for name in smooth}
    if not chosen:
        return {}
    with _undisturbed(task):
        own = _gradients(task, batch, chosen)
    with _undisturbed(task), _replaced(chosen, smooth):
        reference = _gradients(task, batch, chosen)
    return {name: (own[name], reference[name]) for name in own if name in reference}
