"""The sign function and the surrogate gradients that replace its derivative.

Forward, always: sign(x) = +1 for x >= 0 (so sign(0) = sign(-0.0) = +1), -1 below.
Backward: dL/dx = dL/dy · g(x), where g is the estimator's ``surrogate_gradient``.
"""

from typing import Any

import torch
from torch import Tensor, nn

# The bits of the bfloat16 -1, as an int16.
_MINUS_ONE = -16512


def sign_into(x: Tensor, out: Tensor) -> Tensor:
    """``sign(x)`` written into `out`, in two passes over it.

    Args:
        x: any shape, any real dtype.
        out: of the same shape and dtype.
    """
    # Written straight into the result's dtype: on a CPU ten times as fast as torch.where.
    torch.ge(x, 0, out=out)
    if out.dtype == torch.bfloat16:
        # As integers, for which a CPU need not convert: 256 times the bits of 1 overflow to the sign bit, those of 0 to 0.
        bits = out.view(torch.int16)
        torch.add(torch.tensor(_MINUS_ONE, dtype=torch.int16), bits, alpha=256, out=bits)
        return out
    return torch.add(out.new_full((), -1), out, alpha=2, out=out)


def sign(x: Tensor) -> Tensor:
    """Sign with sign(0) = sign(-0.0) = +1; the result has the dtype of `x` and is never zero.

    Args:
        x: any shape, any real dtype.
    """
    x = x.detach()
    if torch.compiler.is_compiling():  # the compiler makes one pass of it
        return (x >= 0).to(x.dtype) * 2 - 1
    return sign_into(x, torch.empty_like(x))


class _SignWithSurrogate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, estimator: "Estimator") -> Tensor:
        ctx.save_for_backward(x)
        ctx.estimator = estimator
        return sign(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grad * ctx.estimator.surrogate_gradient(x), None


class Estimator(nn.Module):
    """sign(x) forward, ``surrogate_gradient`` backward. It owns no parameter: one object may serve many layers."""

    def surrogate_gradient(self, x: Tensor) -> Tensor:
        """g(x), the stand-in for d sign/dx, elementwise.

        Args:
            x: the value whose sign was taken, any shape.
        """
        raise NotImplementedError

    def multiply_(self, grad: Tensor, x: Tensor) -> Tensor:
        """grad · g(x), computed into `grad` itself, which is returned.

        Args:
            grad: the gradient of sign(x), which is overwritten.
            x: the value whose sign was taken, of the same shape.
        """
        return grad.mul_(self.surrogate_gradient(x))

    def forward(self, x: Tensor) -> Tensor:
        """Binarise `x`, any shape, to ±1 of the same dtype."""
        result: Tensor = _SignWithSurrogate.apply(x, self)
        return result
