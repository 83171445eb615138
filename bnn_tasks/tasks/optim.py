"""Parameter groups and the learning-rate schedule of every task."""

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from bnn_tasks.binary import BinaryConv2d, BinaryLinear, Schedule
from bnn_tasks.binary.weights import RealWeight


def parameter_groups(module: nn.Module) -> list[dict[str, object]]:
    """Three groups: real weights, which decay; latent binary weights; and all other parameters. Empty ones are left out.

    Latent weights do not decay (shrinking them changes no sign but makes every sign easier to flip: ReActNet, 2020, trains
    them with weight decay 0), nor do biases, BatchNorms, scales, thresholds and slopes. The weights of a first stage
    (`with_real_weights`) are real ones. The latent weights' group says ``"latent": True``, which `CaseOptimizer` reads.

    Args:
        module: the model.
    """
    layers = [m for m in module.modules() if isinstance(m, BinaryConv2d | BinaryLinear)]
    latent = {id(m.weight) for m in layers if not isinstance(m.weight_binarizer, RealWeight)}
    methods_own = {  # XNOR-Net++'s factors have as many dimensions as a weight
        id(parameter)
        for m in layers
        for part in (m.weight_binarizer, m.activation_binarizer, m.output_scale)
        for parameter in part.parameters()
    }
    decayed: list[nn.Parameter] = []
    binary: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for parameter in module.parameters():
        if parameter.requires_grad:
            vector = parameter.dim() < 2 or id(parameter) in methods_own
            (binary if id(parameter) in latent else kept if vector else decayed).append(parameter)
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
