"""What several processes evaluated, as one process would have it."""

from collections.abc import Callable, Hashable
from itertools import chain, zip_longest
from typing import TypeVar

import torch.distributed as dist

Item = TypeVar("Item")
NOTHING = object()


def gather(items: list[Item], key: Callable[[Item], Hashable]) -> list[Item]:
    """The items of all processes, each once; every process gets the same list, and all of them must call.

    Lightning deals images out in turn (process r of W gets r, r + W, …) and repeats the first ones until all have
    equally many. Taking the items back in turn restores the order, and of items of one key the first is kept.

    Args:
        items: of this process; no tensors on an accelerator.
        key: what an item is about, an image's id or name.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return items
    parts: list[list[Item]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(parts, items)
    once: dict[Hashable, Item] = {}
    for item in chain.from_iterable(zip_longest(*parts, fillvalue=NOTHING)):
        if item is not NOTHING:
            once.setdefault(key(item), item)  # type: ignore[arg-type]
    return list(once.values())
