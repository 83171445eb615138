"""Batches of one shape."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence

from torch.utils.data import BatchSampler, Sampler


class BucketBatchSampler(BatchSampler):
    """Groups the sampler's indices by bucket; with one bucket it is torch's ``BatchSampler``.

    The first three arguments are torch's, since Lightning rebuilds batch samplers with them.

    Args:
        sampler: gives the indices, in the order of the epoch.
        batch_size: at least 1.
        drop_last: drop the batches that the epoch's end leaves unfilled, one a bucket.
        buckets: the bucket of each index.
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

    def __iter__(self) -> Iterator[list[int]]:
        """Yield each batch as soon as its bucket is full, then what is left."""
        waiting: defaultdict[Hashable, list[int]] = defaultdict(list)
        for index in self.sampler:
            batch = waiting[self.buckets[index]]
            batch.append(index)
            if len(batch) == self.batch_size:
                yield waiting.pop(self.buckets[index])
        if not self.drop_last:
            yield from waiting.values()

    def __len__(self) -> int:
        counts: defaultdict[Hashable, int] = defaultdict(int)
        for bucket in self.buckets:
            counts[bucket] += 1
        spare = 0 if self.drop_last else self.batch_size - 1
        return sum((count + spare) // self.batch_size for count in counts.values())
