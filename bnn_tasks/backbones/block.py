"""What every residual block offers."""

from typing import ClassVar

from torch import nn


class Block(nn.Module):
    """Base class of the residual blocks: (N, in, H, W) -> (N, out, ⌈H/s⌉, ⌈W/s⌉).

    Attributes:
        signed_input: whether the block takes the sign of its input, so that no ReLU may come before it.
        binary: whether its convolutions are binary, so that it takes a `method`.
        expansion: output channels over the channels inside: 1 for basic blocks, 4 for bottlenecks.
        float_names: where the parameters of torchvision's block go, prefix -> prefix.
        float_left_out: prefixes of torchvision's parameters that have no place in the block.
    """

    signed_input: ClassVar[bool]
    binary: ClassVar[bool] = True
    expansion: ClassVar[int] = 1
    float_names: ClassVar[dict[str, str]]
    float_left_out: ClassVar[tuple[str, ...]] = ()
