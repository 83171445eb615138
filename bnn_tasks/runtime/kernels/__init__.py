"""Every compiled loop of the runtime. Maps are [H, W, C], geometry arguments (y, x) pairs.

Numba's disk cache sees edits of a kernel's own file only, so a kernel calls kernels of its own file alone. Inner loops run
over contiguous output channels, which LLVM turns into vector code. A prange index is unsigned, and unsigned with signed is
float in numba: hence `oy = np.int64(row)`.
"""

from bnn_tasks.runtime.kernels.bits import (
    pack,
    patch_accumulate,
    popcount,
    tile_bits,
    xnor_accumulate,
    xnor_bits,
    xnor_float,
)
from bnn_tasks.runtime.kernels.maps import avg_pool2d, float_conv2d, max_pool2d, nms, scale_shift
from bnn_tasks.runtime.kernels.patches import residual_signs, window_mean

__all__ = [
    "avg_pool2d",
    "float_conv2d",
    "max_pool2d",
    "nms",
    "pack",
    "patch_accumulate",
    "popcount",
    "residual_signs",
    "scale_shift",
    "tile_bits",
    "window_mean",
    "xnor_accumulate",
    "xnor_bits",
    "xnor_float",
]
