"""How much of a perturbation each layer of a net passes on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnn_tasks.binary import BinaryConv2d, BinaryLinear

Observer = Callable[[nn.Module, Any, Any], None]  # of a forward hook: module, its inputs, its output


def check_evaluation(model: nn.Module) -> None:
    """Raise ValueError if any part of `model` is in training mode: images of one batch would not be apart."""
    for name, part in model.named_modules():
        if part.training:
            raise ValueError(
                f"Expected a model in evaluation mode, but {name or 'it'} is in training mode. Cure: model.eval()."
            )


@contextmanager
def observed(
    model: nn.Module, kinds: tuple[type[nn.Module], ...], observe: Callable[[str], Observer]
) -> Iterator[None]:
    """Within the block, show every forward pass of a net's layers to an observer.

    Args:
        model: the net.
        kinds: classes of the layers.
        observe: the layer's name -> what sees it.
    """
    handles = [
        part.register_forward_hook(observe(name)) for name, part in model.named_modules() if isinstance(part, kinds)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def noise_amplification(model: nn.Module, images: Tensor, perturbed: Tensor) -> dict[str, Tensor]:
    """D_l = ‖f_l(x') - f_l(x)‖ / ‖f_l(x)‖ of every image, (B,), by the layer's name, in the order of the forward pass.

    The normalised distance of Lin, Gan and Han, Defensive Quantization, ICLR 2019, at the outputs of convolutions, linear
    layers and BatchNorms, binary and real. A layer that runs several times a pass counts once, all its outputs as one vector.
    0 where both are zero.

    Args:
        model: in evaluation mode; a binary layer's signs make D saturate, see `sign_flips`.
        images: x, (B, C, H, W) in [0, 1].
        perturbed: x', the same images.

    Raises:
        ValueError: the model is in training mode.
    """
    check_evaluation(model)
    count = len(images)
    squares: dict[str, tuple[Tensor, Tensor]] = {}  # of the difference, of the clean output

    def observe(name: str) -> Observer:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            clean, moved = output.flatten(1).double().split(count)
            before = squares.get(name, (clean.new_zeros(count), clean.new_zeros(count)))
            squares[name] = (before[0] + (moved - clean).square().sum(1), before[1] + clean.square().sum(1))

        return hook

    kinds = (nn.Conv2d, nn.Linear, _BatchNorm, BinaryConv2d, BinaryLinear)
    with observed(model, kinds, observe), torch.no_grad():
        model(torch.cat([images, perturbed]))
    return {name: torch.where(far > 0, (far / size).sqrt(), far).float() for name, (far, size) in squares.items()}
