"""What is asked of all layers of a net at once: a fixed size, finite values, and weights that can be binarised."""

import torch
from torch import Tensor, nn

from bnn_tasks.binary.layers import BinaryConv2d, BinaryLinear
from bnn_tasks.binary.scales import SpatialScale


@torch.no_grad()
def tie_to_size(module: nn.Module, example: Tensor) -> None:
    """Fix the input size of a net whose method has spatial scales (XNOR-Net++, cases 2 to 4); other nets are left alone.

    Scales that have the size already keep their values; those of another size are replaced by ones.

    Args:
        module: the net, which is run once.
        example: its input, (1, ...); only the size counts.
    """

    def tie(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, BinaryConv2d)
        assert isinstance(layer.output_scale, SpatialScale)
        layer.output_scale.tie(*layer.geometry.output_size((inputs[0].shape[2], inputs[0].shape[3])))
        layer.output_scale.to(layer.weight.device, layer.weight.dtype)

    handles = [
        layer.register_forward_pre_hook(tie)
        for layer in module.modules()
        if isinstance(layer, BinaryConv2d) and isinstance(layer.output_scale, SpatialScale)
    ]
    training = {part: part.training for part in module.modules()}
    try:
        if handles:
            module.eval()(example)
    finally:
        for handle in handles:
            handle.remove()
        for part, flag in training.items():
            part.training = flag


def untied_layers(module: nn.Module) -> list[str]:
    """Names of the layers whose spatial scales have no size yet, see `tie_to_size`.

    Args:
        module: the net.
    """
    return [
        name
        for name, layer in module.named_modules()
        if isinstance(layer, BinaryConv2d)
        and isinstance(layer.output_scale, SpatialScale)
        and not layer.output_scale.tied
    ]


def check_layers(module: nn.Module) -> None:
    """Raise ValueError, with the layer's name, if a net cannot compute: what it knows is no number, or cannot be binarised.

    The outputs do not always show it: the sign of NaN is -1.

    Args:
        module: the net.

    Raises:
        ValueError: a weight or a statistic has NaN or infinite values, or a latent weight lacks the spread that its method
            divides by.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, BinaryConv2d | BinaryLinear):
            try:
                layer.check()
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
    for name, tensor in module.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(
                f"Expected {name!r} to be finite, but it has NaN or infinite values. Cure: an earlier checkpoint."
            )
