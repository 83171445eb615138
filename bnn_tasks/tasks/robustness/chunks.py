"""An attack over many images, a few at a time, whatever the memory."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from bnn_tasks.robustness.attacks import Attack, Attacked, MembersAttacked
from bnn_tasks.robustness.objective import Objective

_log = logging.getLogger(__name__)

T = TypeVar("T")


def out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, of whatever device.

    Args:
        error: that was raised.
    """
    # Of the CPU's allocator torch says so in a RuntimeError's words alone.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def join(parts: Sequence[Attacked]) -> Attacked:
    """Attacks on the parts of a batch as one; with members where all have some.

    Args:
        parts: at least one, in order.
    """
    joined = Attacked(
        torch.cat([part.images for part in parts]),
        torch.cat([part.broken for part in parts]),
        torch.cat([part.losses for part in parts]),
        torch.cat([part.queries for part in parts]),
        _mean_trace(parts),
    )
    grouped = [part for part in parts if isinstance(part, MembersAttacked)]
    if len(grouped) < len(parts):
        return joined
    names = grouped[0].members
    return MembersAttacked(
        **vars(joined), members={name: torch.cat([part.members[name] for part in grouped]) for name in names}
    )


def _mean_trace(parts: Sequence[Attacked]) -> list[float]:
    """Mean over the images, step by step; a part that was done earlier stays where it was.

    Left out from then on, it would make the mean jump to the others', which says nothing of what the steps brought.
    """
    climbed = [part for part in parts if part.trace]
    count = sum(len(part.images) for part in climbed)
    return [
        sum(len(part.images) * part.trace[min(step, len(part.trace) - 1)] for part in climbed) / count
        for step in range(max((len(part.trace) for part in climbed), default=0))
    ]


class Chunks:
    """Runs functions of image indices on a few images at a time; a chunk that does not fit is halved, once for all.

    Args:
        size: images at a time, >= 1.

    Raises:
        ValueError: `size` is below 1.
    """

    def __init__(self, size: int = 128) -> None:
        if size < 1:
            raise ValueError(f"Expected `size` to be >= 1, but got {size}.")
        self.size = size

    def run(self, count: int, function: Callable[[Tensor], T]) -> Iterator[tuple[Tensor, T]]:
        """Call `function` with index after index; yield each with what it gave.

        Args:
            count: of images.
            function: (b,) int64 -> result.
        """
        start = 0
        while start < count:
            index = torch.arange(start, min(start + self.size, count))
            try:
                result = function(index)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or len(index) == 1:
                    raise
                self.size = len(index) // 2
                _log.warning("out of memory with %d images at a time; going on with %d", len(index), self.size)
                continue
            yield index, result
            start += len(index)

    def outputs(self, model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Logits of all images, (B, K), without a graph.

        Args:
            model: images -> logits.
            images: (B, C, H, W) in [0, 1].
        """
        with torch.no_grad():
            return torch.cat([logits for _, logits in self.run(len(images), lambda index: model(images[index]))])

    def attack(self, attack: Attack, objective: Objective, images: Tensor, eps: float, seed: int) -> Attacked:
        """Attack all images; with members where the attack has some.

        Args:
            attack: of the images.
            objective: bound to them.
            images: (B, C, H, W) in [0, 1].
            eps: radius.
            seed: of this attack; every chunk draws from a generator of its own.
        """

        def some(index: Tensor) -> Attacked:
            generator = torch.Generator().manual_seed(seed + int(index[0]))
            return attack(objective.select(index), images[index], eps, generator)

        return join([part for _, part in self.run(len(images), some)])
