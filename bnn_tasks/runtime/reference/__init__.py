"""The runtime's operations in plain numpy: exact, readable, without a compiler.

What a faster executor is held against, and what runs where there is none. Maps are [H, W, C], geometry is (y, x) pairs. Large
intermediates are made for a band of output pixels at a time.

Real sums go through BLAS, whose threads are its own (OMP_NUM_THREADS): a session's `threads` does not reach them.
"""

from bnn_tasks.runtime.reference.bits import (
    add_scaled,
    ones_row,
    pack,
    patch_accumulate,
    tile_bits,
    xnor_accumulate,
    xnor_bits,
    xnor_float,
)
from bnn_tasks.runtime.reference.convolution import float_conv2d
from bnn_tasks.runtime.reference.patches import residual_signs, window_mean
from bnn_tasks.runtime.reference.pooling import avg_pool2d, max_pool2d
from bnn_tasks.runtime.reference.windows import PIXEL, Windows

__all__ = [
    "PIXEL",
    "Windows",
    "add_scaled",
    "avg_pool2d",
    "float_conv2d",
    "max_pool2d",
    "ones_row",
    "pack",
    "patch_accumulate",
    "residual_signs",
    "tile_bits",
    "window_mean",
    "xnor_accumulate",
    "xnor_bits",
    "xnor_float",
]
