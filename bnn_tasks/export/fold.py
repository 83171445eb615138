"""BatchNorm and sign folded into integer thresholds, by enumeration.

Where a binary layer's output runs only through a BatchNorm (and hardtanh) into the next binary layer's sign, the sign is
a function of the integer accumulator alone. Every accumulator in [-K, K] is sent through the real float32 modules, and
the place where the sign changes is read off: exact for gamma < 0 and gamma = 0, for ties, and for zero-padded borders,
where sums of the other parity occur. A formula in float32 is not.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bnn_tasks.binary import Term


@dataclass(frozen=True)
class FoldedSign:
    """bit = (accumulator >= threshold) xor flip.

    Attributes:
        threshold: (O,) int32.
        flip: (O,) uint8, 0 or 1.
    """

    threshold: np.ndarray
    flip: np.ndarray


@torch.no_grad()
def fold(producer: Term, bias: Tensor | None, chain: list[nn.Module], threshold: Tensor | None) -> FoldedSign | None:
    """Fold the chain from a binary layer's accumulators to the next layer's signs.

    Args:
        producer: the layer's only term.
        bias: the layer's bias, (O,), or None.
        chain: modules in eval mode between the layer and the sign.
        threshold: the sign's thresholds, (O,), or None for 0.

    Returns:
        The thresholds; None if the sign of some channel changes more than once over the accumulators.
    """
    channels = len(producer.weight)
    bound = producer.weight[0].numel()
    accumulators = torch.arange(-bound, bound + 1, dtype=torch.float32)
    y = accumulators[:, None].expand(-1, channels)
    if producer.scale is not None:
        y = y * producer.scale
    if bias is not None:
        y = y + bias
    if producer.weight.dim() == 4:
        y = y[:, :, None, None]
    for module in chain:
        y = module(y)
    bits = (y.flatten(1) >= (0 if threshold is None else threshold)).numpy()
    changes = (bits[1:] != bits[:-1]).sum(axis=0)
    if changes.max(initial=0) > 1:
        return None
    first, last = bits[0], bits[-1]
    place = np.where(changes == 1, (bits != first).argmax(axis=0) - bound, np.where(first, -bound, bound + 1))
    falling = first & ~last
    return FoldedSign(place.astype(np.int32), falling.astype(np.uint8))
