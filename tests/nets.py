"""Tiny nets with statistics that show, for tests of models, export and tasks."""

from functools import partial

import torch
from torch import nn

from bnn_tasks.backbones import Block, ReActBlock, ReActUnit, ResNet, Unit
from bnn_tasks.binary import BinaryConv2d, BinaryLinear, RPReLU
from bnn_tasks.models import FPN, RetinaNet, RetinaNetHead


def retinanet(
    num_classes: int = 3,
    block: type[Block] = ReActBlock,
    unit: type[Unit] = ReActUnit,
    width: int = 4,
    channels: int = 8,
    depth: int = 1,
    extra_levels: int = 0,
    **arguments: object,
) -> RetinaNet:
    return RetinaNet(
        num_classes,
        ResNet(18, block, width, 3),
        partial(FPN, channels=channels, unit=unit, extra_levels=extra_levels),
        partial(RetinaNetHead, depth=depth, unit=unit),
        **arguments,
    )


def shake(net: nn.Module, seed: int = 0) -> nn.Module:
    """Give a net in eval mode what training gives: BatchNorm statistics, thresholds, slopes, signs of gamma."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: torch.Tensor, std: float, mean: float = 0.0) -> None:
        tensor.data.copy_(mean + std * torch.randn(tensor.shape, generator=generator))

    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            normal(module.weight, 0.6, 0.4)
            normal(module.bias, 0.3)
            normal(module.running_mean, 0.3)
            module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))
        elif isinstance(module, BinaryConv2d | BinaryLinear):
            for parameter in module.activation_binarizer.parameters():
                normal(parameter, 0.1)
        elif isinstance(module, RPReLU):
            normal(module.shift_in, 0.1)
            normal(module.shift_out, 0.1)
    return net.eval()
