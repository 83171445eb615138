"""A net held still while it is looked at or attacked."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Within the block every part is in evaluation mode and no parameter takes a gradient; afterwards all is as it was.

    So running statistics do not move, a pass costs no gradients of weights, and autocast keeps no cast of a weight that was
    made without gradients: a later pass in the same step would use it, and the weight would get none. Flags come back part by
    part, since some may have been in evaluation mode before (frozen BatchNorms).

    Args:
        model: the net.
    """
    modes = {part: part.training for part in model.modules()}
    wanted = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        model.eval()
        model.requires_grad_(False)
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
        for parameter, flag in wanted.items():
            parameter.requires_grad_(flag)
