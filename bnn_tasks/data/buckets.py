"""Batches of one shape, shared among the processes of a distributed run."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence

import torch
from torch.utils.data import BatchSampler, Sampler
from torch.utils.data.distributed import DistributedSampler


class BucketBatchSampler(BatchSampler):
    """Groups the sampler's indices by bucket; with one bucket it is torch's ``BatchSampler``, but for what is left over alone.

    One image left over in its bucket joins the batch before it, which then has one more than ``batch_size``: a BatchNorm
    learns nothing from one image whose coarsest map is one position. Where its bucket has no other, or batches are of one
    image by wish, it stays alone.

    In a distributed run, where Lightning puts a ``DistributedSampler`` in the sampler's place, every process groups the whole
    epoch in the same order and takes every world-size-th batch. Each image is in exactly one batch of one process, none is
    repeated as torch's sampler does to even the shares out; instead as many of the largest batches as it takes are halved, so
    that all processes have the same number of batches: with fewer, one would wait for the others' gradients for ever.

    The first three arguments are torch's, since Lightning rebuilds batch samplers with them.

    Args:
        sampler: gives every index once, in the order of the epoch; of a ``DistributedSampler`` only world size, rank, seed,
            epoch and whether to shuffle are used.
        batch_size: at least 1.
        drop_last: drop the batches that the epoch's end leaves unfilled, one a bucket, and those left over by the world size.
        buckets: the bucket of each index.

    Raises:
        ValueError: the images cannot be dealt out to that many processes.
    """

    def __init__(
        self,
        sampler: Sampler[int] | Iterable[int],
        batch_size: int,
        drop_last: bool,
        buckets: Sequence[Hashable],
    ) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.buckets = buckets
        self._joins = batch_size > 1 and not drop_last
        world = sampler.num_replicas if isinstance(sampler, DistributedSampler) else 1
        batches = self._count()
        if drop_last:
            self._length, self._halved = batches // world, 0
        else:
            self._length, self._halved = -(-batches // world), -batches % world
        if self._halved > len(buckets) - batches:
            raise ValueError(
                f"Expected {len(buckets)} images in batches of {batch_size} to give {world} processes equally many "
                "batches, but there are too few. Cure: a larger batch_size, or fewer devices"
            )

    def __iter__(self) -> Iterator[list[int]]:
        """Yield each batch as soon as its bucket is full, then what is left; of a distributed epoch this process's share."""
        if not isinstance(self.sampler, DistributedSampler):
            yield from self._batches(self.sampler)
            return
        batches = list(self._batches(_whole_epoch(self.sampler, len(self.buckets))))
        for _ in range(self._halved):
            place = max(range(len(batches)), key=lambda i: (len(batches[i]), i))
            half = (len(batches[place]) + 1) // 2
            batches[place : place + 1] = [batches[place][:half], batches[place][half:]]
        world = self.sampler.num_replicas
        yield from batches[self.sampler.rank : self._length * world : world]

    def __len__(self) -> int:
        return self._length

    def _batches(self, indices: Iterable[int]) -> Iterator[list[int]]:
        waiting: defaultdict[Hashable, list[int]] = defaultdict(list)
        left = Counter(self.buckets)
        for index in indices:
            bucket = self.buckets[index]
            waiting[bucket].append(index)
            left[bucket] -= 1
            if len(waiting[bucket]) >= self.batch_size and not (self._joins and left[bucket] == 1):
                yield waiting.pop(bucket)
        if not self.drop_last:
            yield from waiting.values()

    def _count(self) -> int:
        counts = Counter(self.buckets).values()
        if self.drop_last:
            return sum(count // self.batch_size for count in counts)
        spare = self.batch_size - 1 - self._joins
        return sum(max((count + spare) // self.batch_size, 1) for count in counts)


def _whole_epoch(sampler: DistributedSampler[int], count: int) -> list[int]:
    if not sampler.shuffle:
        return list(range(count))
    return torch.randperm(count, generator=torch.Generator().manual_seed(sampler.seed + sampler.epoch)).tolist()
