"""Output sizes of sliding windows, as torch counts them."""

import numpy as np

from bnn_tasks.runtime.errors import TooSmallError
from bnn_tasks.runtime.kinds import FloatMap, Side, known
from bnn_tasks.runtime.ops.attrs import COUNT, DILATION, KERNEL, PADDING, STRIDE, Attr, Choice
from bnn_tasks.runtime.ops.base import Attrs
from bnn_tasks.runtime.reference import Windows

# Of a convolution whose padding may be signs.
WINDOW_ATTRS: dict[str, Attr] = {
    "kernel": KERNEL,
    "stride": STRIDE,
    "padding": PADDING,
    "dilation": DILATION,
    "groups": COUNT,
    "pad_value": Choice((0, 1, -1)),
}


def output_side(side: Side, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool = False) -> Side:
    """⌊(side + 2·padding - dilation·(kernel - 1) - 1) / stride⌋ + 1 (⌈·⌉ in ceil mode).

    In ceil mode a last window that would start in the far padding is dropped (torch.nn.functional.max_pool2d).

    Args:
        side: pixels; None where not known yet.
        kernel: taps.
        stride: pixels.
        padding: pixels added on each side.
        dilation: pixels between taps.
        ceil_mode: whether a window may reach beyond the padding.

    Returns:
        Pixels, at least 1.

    Raises:
        TooSmallError: no window fits.
    """
    if side is None:
        return None
    reach = side + 2 * padding - dilation * (kernel - 1) - 1
    count = (reach + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (count - 1) * stride >= side + padding:
        count -= 1
    if count < 1:
        raise TooSmallError(
            f"a side of {side} px shrinks to nothing under kernel {kernel}, stride {stride}, padding {padding}, "
            f"dilation {dilation}"
        )
    return count


def output_map(x: FloatMap, channels: int, kernel: tuple[int, int], attrs: Attrs) -> FloatMap:
    """The map a window op gives; `attrs` has stride and padding, and may have dilation and ceil_mode."""
    dilation, ceil_mode = attrs.get("dilation", (1, 1)), attrs.get("ceil_mode", False)
    height, width = (
        output_side(side, kernel[i], attrs["stride"][i], attrs["padding"][i], dilation[i], ceil_mode)
        for i, side in enumerate((x.height, x.width))
    )
    return FloatMap(channels, height, width)


def windows_over(x: np.ndarray, kernel: tuple[int, int], attrs: Attrs) -> Windows:
    """The windows of an op over a map [H, W, C]; `attrs` as for `output_map`."""
    y = output_map(FloatMap(x.shape[2], x.shape[0], x.shape[1]), x.shape[2], kernel, attrs)
    stride, padding, dilation = (tuple(attrs.get(name, (1, 1))) for name in ("stride", "padding", "dilation"))
    return Windows((known(y.height), known(y.width)), kernel, stride, padding, dilation)
