"""Parameter groups, the learning-rate schedule and the latent weights' care after a step, of every task."""

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from bnn_tasks.binary import BinaryConv2d, BinaryLinear, Schedule


def parameter_groups(module: nn.Module) -> list[dict[str, object]]:
    """Two groups: weights that decay, and parameters that must not.

    Latent binary weights do not decay (shrinking them changes no sign but makes every sign easier to flip: ReActNet, 2020,
    trains them with weight decay 0), nor do biases, BatchNorms, scales, thresholds and slopes.

    Args:
        module: the model.
    """
    latent = {id(m.weight) for m in module.modules() if isinstance(m, BinaryConv2d | BinaryLinear)}
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for parameter in module.parameters():
        if parameter.requires_grad:
            (kept if parameter.dim() < 2 or id(parameter) in latent else decayed).append(parameter)
    return [{"params": decayed}, {"params": kept, "weight_decay": 0.0}]


def schedule_learning_rate(optimizer: Optimizer, schedule: Schedule, steps: int) -> LambdaLR:
    """Multiply the optimiser's learning rates by ``schedule(step / steps)``, step by step.

    Args:
        optimizer: whose learning rates are the schedule's 1.
        schedule: progress in [0, 1] -> factor.
        steps: optimiser steps of the whole run, > 0.
    """
    return LambdaLR(optimizer, lambda step: schedule(min(step / steps, 1.0)))


def adjust_latent_weights(module: nn.Module, optimizer: Optimizer) -> None:
    """Let every binary layer's method adjust its latent weight after a step: clip it, or take the optimiser's curvature.

    Args:
        module: the model.
        optimizer: which has just stepped.

    Raises:
        ValueError: a method needs what this optimiser does not keep.
    """
    for layer in module.modules():
        if isinstance(layer, BinaryConv2d | BinaryLinear) and layer.weight.requires_grad:
            layer.weight_binarizer.after_step(layer.weight, optimizer.state[layer.weight])
