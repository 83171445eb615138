"""Size and time of a net and of its artifact."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import numpy as np
from torch import nn

from bnn_tasks.runtime import Session

Item = TypeVar("Item")
T = TypeVar("T")
U = TypeVar("U")

AT_ONCE = 16  # pictures in memory


def _timed(function: Callable[[np.ndarray], T], image: np.ndarray) -> tuple[T, float]:
    start = time.perf_counter()
    return function(image), 1e3 * (time.perf_counter() - start)


@dataclass(frozen=True)
class Pair(Generic[Item, T, U]):
    """One picture's results.

    Attributes:
        item: what names the picture.
        image: the picture.
        torch: the net's result.
        runtime: the artifact's.
        milliseconds: of the net, of the artifact.
    """

    item: Item
    image: np.ndarray
    torch: T
    runtime: U
    milliseconds: tuple[float, float]


def side_by_side(
    items: Iterable[Item],
    read: Callable[[Item], np.ndarray],
    net: Callable[[np.ndarray], T],
    session: Callable[[np.ndarray], U],
) -> Iterator[Pair[Item, T, U]]:
    """Run a net and its artifact on the same pictures, `AT_ONCE` by the one, then the same by the other.

    Torch's threads spin for some milliseconds after each call; whoever ran next would pay for that.

    Args:
        items: in order.
        read: gives an item's picture.
        net: the net.
        session: the artifact.
    """
    rest = iter(items)
    first = True
    while some := list(itertools.islice(rest, AT_ONCE)):
        images = [read(item) for item in some]
        if first:  # the first picture also pays for the kernels' first use
            net(images[0]), session(images[0])
            first = False
        of_torch = [_timed(net, image) for image in images]
        of_runtime = [_timed(session, image) for image in images]
        for item, image, (a, torch_ms), (b, runtime_ms) in zip(some, images, of_torch, of_runtime, strict=True):
            yield Pair(item, image, a, b, (torch_ms, runtime_ms))


@dataclass(frozen=True)
class Cost:
    """What the two cost.

    Attributes:
        images: compared.
        torch_bytes: parameters and buffers as 32-bit floats.
        artifact_bytes: size of the file.
        torch_ms: median time an image, from decoded picture to boxes, classes of its pixels, or probabilities.
        runtime_ms: likewise.
        threads: of both.
    """

    HEAD: ClassVar[str] = f"{'size (bytes)':>15}{'ms/image':>10}"

    images: int
    torch_bytes: int
    artifact_bytes: int
    torch_ms: float
    runtime_ms: float
    threads: int

    @classmethod
    def of(cls, model: nn.Module, session: Session, times: Sequence[tuple[float, float]]) -> "Cost":
        """Put together.

        Args:
            model: the torch net.
            session: on its artifact.
            times: milliseconds of torch and runtime, of every image.
        """
        torch_ms, runtime_ms = (float(np.median(column)) for column in zip(*times))
        return cls(
            images=len(times),
            torch_bytes=4 * sum(t.numel() for t in (*model.parameters(), *model.buffers())),
            artifact_bytes=Path(session.path).stat().st_size,
            torch_ms=torch_ms,
            runtime_ms=runtime_ms,
            threads=session.threads,
        )

    def rows(self) -> list[tuple[str, str]]:
        """Name of the net, and its cells below `HEAD`; torch first."""
        return [
            ("torch", f"{self.torch_bytes:>15,}{self.torch_ms:>10.1f}"),
            ("exported", f"{self.artifact_bytes:>15,}{self.runtime_ms:>10.1f}"),
        ]

    def __str__(self) -> str:
        return (
            f"size 1/{self.torch_bytes / self.artifact_bytes:.1f}, time x{self.torch_ms / self.runtime_ms:.2f}, "
            f"{self.images} images, {self.threads} thread(s) each"
        )
