"""An optimiser of binary weights that have no latent values: Bop."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from bnn_tasks.binary.estimators import sign


class Bop(Optimizer):
    """m ← m + γ·(g - m), then w ← -w where abs(m) > τ and sign(m) = sign(w).

    Helwegen et al., Latent Weights Do Not Exist, 2019. The weights are ±1 themselves: a flip is the only change. They become
    sign(w), sign(0) = +1, when the optimiser takes them. γ is the learning rate, which a schedule's factor in [0, 1] scales: as
    it falls, m forgets more slowly and flips get rare, as with the paper's decay of γ; at 0 nothing flips any more. τ stays.
    Clipping or scaling gradients changes what τ means. Weight decay has no meaning here, and a group's is ignored.

    Args:
        params: binary weights, or groups of them; real parameters need another optimiser beside, see `CaseOptimizer`.
        lr: γ, the adaptivity, in [0, 1].
        threshold: τ >= 0.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-4, threshold: float = 1e-8) -> None:
        super().__init__(params, {"lr": lr, "threshold": threshold})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take a group of weights, and make them ±1.

        Args:
            param_group: ``params``, and ``lr`` or ``threshold`` where they are the group's own.

        Raises:
            ValueError: an argument is out of range.
        """
        super().add_param_group(param_group)
        lr, threshold = param_group["lr"], param_group["threshold"]
        if not 0 <= lr <= 1:
            raise ValueError(f"Expected `lr`, Bop's adaptivity, to be in [0, 1], but got {lr}.")
        if not 0 <= threshold < math.inf:
            raise ValueError(f"Expected `threshold` to be a finite number >= 0, but got {threshold}.")
        for weight in param_group["params"]:
            weight.data.copy_(sign(weight))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move the averages, flip.

        Args:
            closure: computes the loss and the gradients anew.

        Returns:
            The closure's loss, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    state = self.state[weight]
                    if not state:
                        state["average"] = torch.zeros_like(weight)
                    _step(weight, weight.grad, state["average"], group["lr"], group["threshold"])
        return loss


def _step(weight: Tensor, grad: Tensor, average: Tensor, lr: float, threshold: float) -> None:
    average.lerp_(grad, lr)
    # With w = ±1, abs(m) > τ and sign(m) = sign(w) are m·w > τ.
    weight.copy_(torch.where(average * weight > threshold, -weight, weight))
