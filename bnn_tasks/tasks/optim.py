"""Parameter groups and the learning-rate schedule of every task."""

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from bnn_tasks.binary import BinaryConv2d, BinaryLinear, Schedule


def parameter_groups(module: nn.Module) -> list[dict[str, object]]:
    """Three groups: real weights, which decay; latent binary weights; and all other parameters. Empty ones are left out.

    Latent weights do not decay (shrinking them changes no sign but makes every sign easier to flip: ReActNet, 2020, trains
    them with weight decay 0), nor do biases, BatchNorms, scales, thresholds and slopes. The latent weights' group says
    ``"latent": True``, which `CaseOptimizer` reads.

    Args:
        module: the model.
    """
    latent = {id(m.weight) for m in module.modules() if isinstance(m, BinaryConv2d | BinaryLinear)}
    decayed: list[nn.Parameter] = []
    binary: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for parameter in module.parameters():
        if parameter.requires_grad:
            (binary if id(parameter) in latent else kept if parameter.dim() < 2 else decayed).append(parameter)
    groups: list[dict[str, object]] = [
        {"params": decayed, "latent": False},
        {"params": binary, "latent": True, "weight_decay": 0.0},
        {"params": kept, "latent": False, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def schedule_learning_rate(optimizer: Optimizer, schedule: Schedule, steps: int) -> LambdaLR:
    """Multiply the optimiser's learning rates by ``schedule(step / steps)``, step by step.

    Args:
        optimizer: whose learning rates are the schedule's 1.
        schedule: progress in [0, 1] -> factor.
        steps: optimiser steps of the whole run, > 0.
    """
    return LambdaLR(optimizer, lambda step: schedule(min(step / steps, 1.0)))
