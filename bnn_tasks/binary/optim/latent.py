"""What methods do to latent weights after every optimiser step: clip them, or look at the optimiser's state."""

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from bnn_tasks.binary.layers import BinaryConv2d, BinaryLinear
from bnn_tasks.binary.optim.case import CaseOptimizer
from bnn_tasks.binary.weights import BopWeight, LossAware, WeightBinarizer

# What a method's optimiser must keep of every weight, in words, and which optimisers do.
NEEDS: dict[type[WeightBinarizer], tuple[str, str, str]] = {
    LossAware: ("exp_avg_sq", "Adam's second moment", "torch.optim.Adam or AdamW for the binary weights"),
    BopWeight: ("average", "Bop's average of the gradient", "CaseOptimizer with Bop for the binary weights"),
}


def _stepper(optimizer: Optimizer, weight: nn.Parameter) -> Optimizer | None:
    members = optimizer.members if isinstance(optimizer, CaseOptimizer) else (optimizer,)
    for member in members:
        if any(weight is parameter for group in member.param_groups for parameter in group["params"]):
            return member
    return None


def _state_keys(optimizer: Optimizer) -> set[str]:
    """What the optimiser keeps of a parameter, seen on a step of another one of its kind with the same options."""
    probe = nn.Parameter(torch.zeros(1))
    probe.grad = torch.zeros(1)
    options = {key: value for key, value in optimizer.param_groups[0].items() if key not in ("params", "param_names")}
    other = type(optimizer)([{**options, "params": [probe]}])  # type: ignore[call-arg]
    other.step()
    return set(other.state[probe])


def register_latent_updates(optimizer: Optimizer, module: nn.Module) -> RemovableHandle:
    """After every step of `optimizer`, let the binary layers of `module` call their method's ``after_step``.

    That is the clipping of latent weights (BinaryConnect, BNN, LAB) and LAB's curvature. Layers whose weight the optimiser does
    not have, or which got no gradient, are left alone.

    Args:
        optimizer: a plain one or a `CaseOptimizer`.
        module: the net.

    Returns:
        A handle; its ``remove()`` ends the updates.

    Raises:
        ValueError: a layer's method is LAB, and its optimiser keeps no second moment of the gradient; or it is Bop's, and the
            optimiser is another.
    """
    layers = []
    for name, layer in module.named_modules():
        if not isinstance(layer, BinaryConv2d | BinaryLinear):
            continue
        stepper = _stepper(optimizer, layer.weight)
        if stepper is None:
            continue
        for kind, (key, what, cure) in NEEDS.items():
            if isinstance(layer.weight_binarizer, kind) and key not in _state_keys(stepper):
                raise ValueError(
                    f"Expected an optimiser with {what} for the method {layer.method_name!r} of layer {name!r}, but "
                    f"{type(stepper).__name__} keeps none. Cure: {cure}."
                )
        layers.append(layer)

    def update(stepped: Optimizer, args: Any, kwargs: Any) -> None:
        for layer in layers:
            if layer.weight.grad is not None:
                layer.weight_binarizer.after_step(layer.weight, stepped.state[layer.weight])

    return optimizer.register_step_post_hook(update)
