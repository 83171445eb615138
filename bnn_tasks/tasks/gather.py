"""What several processes evaluated, as one process would have it."""

from collections.abc import Callable, Hashable
from itertools import chain, zip_longest
from typing import TypeVar

import torch.distributed as dist

Item = TypeVar("Item")


def gather(batches: list[list[Item]], key: Callable[[Item], Hashable]) -> list[Item]:
    """The items of all processes, each once; every process gets the same list, and all of them must call.

    Our samplers deal batches out in turn (process r of W gets r, r + W, …). Taking them back in turn restores the order. A
    sampler of torch's may repeat images until all processes have equally many: of items of one key the first is kept.

    Args:
        batches: of this process, items by batch; no tensors on an accelerator.
        key: what an item is about, an image's id or name.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return list(chain.from_iterable(batches))
    parts: list[list[list[Item]]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(parts, batches)
    once: dict[Hashable, Item] = {}
    in_turn = chain.from_iterable(zip_longest(*parts, fillvalue=()))
    for item in chain.from_iterable(in_turn):
        once.setdefault(key(item), item)
    return list(once.values())
