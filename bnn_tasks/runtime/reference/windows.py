"""Which pixels lie under which window."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

Pair = tuple[int, int]
Area = tuple[slice, slice]

BAND_BYTES = 1 << 22  # scratch of one band: about what a core's cache holds


def bands(count: int, bytes_each: int) -> Iterator[slice]:
    """Ranges that make up `count` items, of about `BAND_BYTES` each and at least one item."""
    step = max(1, BAND_BYTES // bytes_each)
    return (slice(first, min(first + step, count)) for first in range(0, count, step))


@dataclass(frozen=True)
class Windows:
    """Windows of taps that slide over a map; `size` is how many there are. All are (y, x) pairs."""

    size: Pair
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)

    @property
    def count(self) -> int:
        """Output pixels."""
        return self.size[0] * self.size[1]

    @property
    def taps(self) -> int:
        """Taps of one window."""
        return self.kernel[0] * self.kernel[1]

    def places(self, axis: int) -> np.ndarray:
        """Input coordinate of each window and tap along an axis, [size, kernel]; outside the map where negative or beyond."""
        window, tap = np.arange(self.size[axis])[:, None], np.arange(self.kernel[axis])
        return window * self.stride[axis] - self.padding[axis] + tap * self.dilation[axis]

    def of_rows(self, rows: slice) -> tuple["Windows", slice]:
        """The windows of some output rows, over the input rows that they reach, and which these are."""
        first = rows.start * self.stride[0] - self.padding[0]
        last = (rows.stop - 1) * self.stride[0] - self.padding[0] + (self.kernel[0] - 1) * self.dilation[0]
        top = max(0, first)
        size, padding = (rows.stop - rows.start, self.size[1]), (top - first, self.padding[1])
        return replace(self, size=size, padding=padding), slice(top, max(top, last + 1))

    def patches(
        self, x: np.ndarray, pad: np.ndarray, bytes_each: int
    ) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Band after band of output pixels, row by row, and what lies under their windows.

        Args:
            x: [H, W, C].
            pad: (C,), the pixel that a tap outside the map sees.
            bytes_each: what the caller makes of one pixel, beside its patch.

        Yields:
            The band's pixels; its patches [n, kh·kw, C]; which taps are inside the map, [n, kh·kw].
        """
        height, width, channels = x.shape
        pixels = x.reshape(-1, channels)
        ys, xs = self.places(0), self.places(1)
        y_inside, x_inside = (ys >= 0) & (ys < height), (xs >= 0) & (xs < width)
        ys, xs = np.clip(ys, 0, height - 1) * width, np.clip(xs, 0, width - 1)
        for band in bands(self.count, bytes_each + self.taps * (channels * x.itemsize + 16)):
            oy, ox = np.divmod(np.arange(band.start, band.stop), self.size[1])
            inside = (y_inside[oy][:, :, None] & x_inside[ox][:, None, :]).reshape(-1, self.taps)
            patches = pixels[(ys[oy][:, :, None] + xs[ox][:, None, :]).reshape(-1, self.taps)]
            if not inside.all():
                patches[~inside] = pad
            yield band, patches, inside

    def shifts(self, height: int, width: int) -> Iterator[tuple[Area, Area]]:
        """Tap after tap, row by row: the output pixels whose tap is inside the map, and the input pixels that it is on."""
        columns = [_shift(width, tap, self, 1) for tap in range(self.kernel[1])]
        for tap in range(self.kernel[0]):
            to_y, from_y = _shift(height, tap, self, 0)
            for to_x, from_x in columns:
                yield (to_y, to_x), (from_y, from_x)


def _shift(side: int, tap: int, windows: Windows, axis: int) -> tuple[slice, slice]:
    """Windows whose `tap` is inside along an axis, and where it is there."""
    stride, offset = windows.stride[axis], tap * windows.dilation[axis] - windows.padding[axis]
    first = max(0, -(offset // stride))
    last = min(windows.size[axis] - 1, (side - 1 - offset) // stride)
    count = max(0, last - first + 1)
    start = first * stride + offset
    return slice(first, first + count), slice(start, start + count * stride, stride)


PIXEL = Windows((1, 1), (1, 1))  # a linear layer: the one window of a map of one pixel
