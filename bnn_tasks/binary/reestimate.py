"""BatchNorm statistics of the net as it will run: the last step of Bi-Real's training, and a smaller momentum before it."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def _batchnorms(module: nn.Module) -> list[_BatchNorm]:
    found = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    if not found:
        raise ValueError("Expected a net with BatchNorms that keep running statistics, but got none.")
    return found


@torch.no_grad()
def reestimate_batchnorm(module: nn.Module, batches: Iterable[Tensor]) -> int:
    """Replace the running statistics of every BatchNorm by the averages over `batches` (Liu et al., Bi-Real Net, 2018, §3.3).

    Running statistics are averages over the last steps, during which the signs of weights kept flipping: they fit no single
    net. Here only the BatchNorms are in training mode, all else is as in evaluation, and the binary layers compute with the
    true ±1 weights. Mean and variance become the plain means of the batches' own (variance unbiased, as torch's).
    Parameters, momenta and training flags are as before; statistics change, also where `batches` raises half-way.

    Args:
        module: the net; its forward takes a batch.
        batches: inputs, (N, C, H, W), best all of one size and drawn as for training, without augmentation.

    Returns:
        The number of batches.

    Raises:
        ValueError: there is no BatchNorm with running statistics, or no batch.
    """
    norms = _batchnorms(module)
    momenta = [norm.momentum for norm in norms]
    flags = {part: part.training for part in module.modules()}
    count = 0
    try:
        module.eval()
        for norm in norms:
            norm.momentum = None  # torch's word for the cumulative average
            norm.train()
        for batch in batches:
            if not count:  # not before: without a batch the statistics stay
                for norm in norms:
                    norm.reset_running_stats()
            module(batch)
            count += 1
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
        for part, flag in flags.items():
            part.training = flag
    if not count:
        raise ValueError("Expected at least one batch, but got none.")
    return count


def set_batchnorm_momentum(module: nn.Module, momentum: float) -> None:
    """Set the momentum of every BatchNorm: the weight of the newest batch in the running statistics.

    Torch's 0.1 remembers some ten batches. Small batches, and binary nets, whose statistics jump with every flip, are evaluated
    more steadily at 0.01 to 0.05, provided the run has several times 1/momentum steps.

    Args:
        module: the net.
        momentum: in (0, 1].

    Raises:
        ValueError: `momentum` is out of range, or there is no BatchNorm with running statistics.
    """
    if not 0 < momentum <= 1:
        raise ValueError(f"Expected `momentum` to be in (0, 1], but got {momentum}.")
    for norm in _batchnorms(module):
        norm.momentum = momentum
