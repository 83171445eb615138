"""Start a net from the weights of another one that has the same layers, whatever their methods."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnn_tasks.binary.layers import BinaryConv2d, BinaryLinear

# What a method, a nonlinearity, a clip or a depthwise path has of its own: scales, thresholds, progress, slopes, gates, ranges.
OWN = re.compile(r"(^|\.)((\w+_binarizer|output_scale|activation|gate|clips)\.|shortcut\.weight$)")


@dataclass(frozen=True)
class LoadReport:
    """What happened to every tensor.

    Attributes:
        loaded: names in the net that were set.
        left_out: names in the source that have no place in the net.
        fresh: names in the net that the source does not have (thresholds, scales, slopes); they keep their value.
    """

    loaded: list[str]
    left_out: list[str]
    fresh: list[str]

    def __str__(self) -> str:
        return (
            f"loaded {len(self.loaded)} tensors; left out of the source: {self.left_out or 'nothing'}; not in the source, left "
            f"at their initial value: {self.fresh or 'nothing'}"
        )


@torch.no_grad()
def load_weights(module: nn.Module, state: dict[str, Tensor]) -> LoadReport:
    """Copy the tensors of a net of the same layers into another.

    Weights (latent ones become latent ones, or what the method makes of a float layer's), BatchNorms and all else must fit
    name by name; only what a method, a nonlinearity, a clip or a depthwise path has of its own (thresholds, scales, slopes)
    may be on one side alone. Nothing is copied unless everything fits.

    Args:
        module: to fill.
        state: names in `module` to tensors.

    Returns:
        What was loaded, left out and kept.

    Raises:
        ValueError: a tensor has no place in the net, has another shape, or is missing; the message names it.
    """
    own = dict(module.state_dict(keep_vars=True))
    latent = {
        f"{name}.weight": layer
        for name, layer in module.named_modules()
        if isinstance(layer, BinaryConv2d | BinaryLinear)
    }
    foreign = [name for name in state if name not in own and not OWN.search(name)]
    missing = [name for name in own if name not in state and not OWN.search(name)]
    if foreign or missing:
        raise ValueError(
            f"Expected tensors of a net of the same layers, but {len(foreign)} have no place in this one {foreign[:3]} and "
            f"{len(missing)} of this one are missing {missing[:3]}."
        )
    loaded = [name for name in state if name in own]
    for name in loaded:
        shapes = [tuple(own[name].shape), *([latent[name].float_shape] if name in latent else [])]
        if tuple(state[name].shape) not in shapes:
            raise ValueError(f"Expected {name!r} to have shape {shapes[0]}, but got {tuple(state[name].shape)}.")
    for name in loaded:
        if name in latent and tuple(state[name].shape) == latent[name].float_shape:
            latent[name].load_float(state[name], None)
        else:
            own[name].copy_(state[name])
    return LoadReport(sorted(loaded), sorted(state.keys() - own.keys()), sorted(own.keys() - state.keys()))
