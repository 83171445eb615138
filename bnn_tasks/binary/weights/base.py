"""What a weight binariser offers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bnn_tasks.binary.estimators import Estimator, sign


@dataclass(frozen=True)
class Basis:
    """One summand of a binarised weight: α_o · B_o.

    Attributes:
        signs: B, ±1, of the weight's shape (O, ...).
        scale: α, (O,); None is 1.
    """

    signs: Tensor
    scale: Tensor | None = None


class WeightBinarizer(nn.Module):
    """Base class: a latent weight W in, W̃ = Σ_i α_i·B_i out, B_i ∈ {-1, +1}.

    Attributes:
        cure: what makes a layer binary that is not ``ready``, as an error says it.
    """

    cure: ClassVar[str] = "train to the end, or set_progress(net, 1.0)"

    @property
    def ready(self) -> bool:
        """Whether the weights are binary by now; a method that hardens during training says no before its end."""
        return True

    def forward(self, weight: Tensor) -> Tensor:
        """W̃ of a latent weight, (O, ...); gradients are the method's own."""
        raise NotImplementedError

    def bases(self, weight: Tensor) -> list[Basis]:
        """The summands of W̃ once ``ready``, at least one; called without gradients."""
        raise NotImplementedError

    def initial_latent(self, weight: Tensor) -> Tensor:
        """The latent weight to start from, given a float layer's (O, C/groups, ...)."""
        return weight

    def check(self, weight: Tensor) -> None:
        """Raise ValueError where the method cannot binarise a latent weight: its statistics do not exist."""

    def after_step(self, weight: Tensor, state: Mapping[str, Any]) -> None:
        """Adjust the latent weight in place after an optimiser step.

        Args:
            weight: the latent weight.
            state: the optimiser's entry for it.
        """


def per_filter(values: Tensor, weight: Tensor) -> Tensor:
    """(O,) values in the shape that multiplies (O, ...)."""
    return values.view(-1, *[1] * (weight.dim() - 1))


def channel_mean(weight: Tensor) -> Tensor:
    """mean(abs(W)) of every filter, (O,)."""
    return weight.abs().mean(dim=tuple(range(1, weight.dim())))


def check_spread(weight: Tensor, why: str) -> None:
    """Raise ValueError if some filter's values are all equal.

    Args:
        weight: (O, ...).
        why: what the method does with the spread.
    """
    rows = weight.detach().flatten(1)
    flat = (rows.amax(1) == rows.amin(1)).nonzero().flatten().tolist()
    if flat and rows.shape[1] > 1:
        raise ValueError(
            f"Expected the weights of every filter to differ, since the method {why}, but those of filter(s) {flat[:5]} are "
            "all equal. Cure: a random initialisation."
        )


class _ScaledSign(torch.autograd.Function):
    """scale · sign(W) whose gradient does not carry the scale."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor, estimator: Estimator) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.estimator = estimator
        return sign(weight) * scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return ctx.estimator.multiply_(grad.clone(), weight), None, None


def scaled_sign(weight: Tensor, scale: Tensor, estimator: Estimator) -> Tensor:
    """scale · sign(W) with dL/dW = g(W)·dL/d(scale·B).

    Args:
        weight: (O, ...).
        scale: broadcastable, no gradient flows to it.
        estimator: the surrogate gradient g.
    """
    result: Tensor = _ScaledSign.apply(weight, scale.detach(), estimator)
    return result
