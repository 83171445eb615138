"""sign(x) ⊛ W as one autograd step, which keeps x alone for backward.

Written as two steps, autograd would keep x for the surrogate and sign(x) for the gradient of W: twice a real layer's
memory. The signs are cheap to take again.
"""

from typing import Any

import torch
from torch import Tensor

from bnn_tasks.binary.estimators import Estimator, sign
from bnn_tasks.binary.estimators.base import sign_into
from bnn_tasks.binary.geometry import Geometry

# Elements that the passes over a map work on at a time: in bfloat16 and float32 alike they stay in a core's cache.
CHUNK = 1 << 18


def _chunks(x: Tensor) -> tuple[Tensor, ...]:
    if torch.compiler.is_compiling():  # the compiler makes one pass of it
        return (x,)
    return x.split(max(1, CHUNK * len(x) // max(x.numel(), 1)))


def _signs(x: Tensor) -> Tensor:
    """sign(x), chunk by chunk."""
    if torch.compiler.is_compiling():
        return sign(x)
    signs = torch.empty_like(x)
    for source, target in zip(_chunks(x), _chunks(signs)):
        sign_into(source, target)
    return signs


class _SignedConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, estimator: Estimator, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.estimator, ctx.geometry = estimator, geometry
        return geometry.product(_signs(x), weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        geometry: Geometry = ctx.geometry
        geometry_arguments = (geometry.stride, geometry.padding, geometry.dilation, False, (0, 0), geometry.groups)
        grad_x = grad_weight = None
        # The weight first: its gradient alone needs the signs, which are gone before the input's gradient takes their room.
        if ctx.needs_input_grad[1]:
            _, grad_weight, _ = torch.ops.aten.convolution_backward(
                grad, _signs(x), weight, None, *geometry_arguments, [False, True, False]
            )
        if ctx.needs_input_grad[0]:
            grad_x, _, _ = torch.ops.aten.convolution_backward(
                grad, x, weight, None, *geometry_arguments, [True, False, False]
            )
            for source, target in zip(_chunks(x), _chunks(grad_x)):
                ctx.estimator.multiply_(target, source)
        return grad_x, grad_weight, None, None


def signed_product(x: Tensor, weight: Tensor, estimator: Estimator, geometry: Geometry) -> Tensor:
    """sign(x) ⊛ W with the estimator's gradient at x.

    Args:
        x: (N, C, H, W) or (N, C) real.
        weight: effective weight, (O, C/groups, kh, kw) or (O, C).
        estimator: the surrogate gradient of the sign.
        geometry: of the layer.
    """
    if x.dim() == 4 and geometry.pads_with_zeros:
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        # Autocast does not look inside: both operands have one dtype, and the product keeps it.
        with torch.autocast(x.device.type, enabled=False):
            result: Tensor = _SignedConvolution.apply(x, weight.to(x.dtype), estimator, geometry)
            return result
    signs = estimator(x)
    return geometry.product(signs, weight.to(signs.dtype))
