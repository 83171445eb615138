"""Projected gradient ascent."""

import torch
from torch import Tensor

from bnn_tasks.robustness.attacks.base import Attack, Attacked
from bnn_tasks.robustness.attacks.gradient import ascend
from bnn_tasks.robustness.attacks.ledger import Ledger
from bnn_tasks.robustness.norms import check_eps, check_images, get_norm
from bnn_tasks.robustness.objective import Objective


class PGD(Attack):
    """x ← Π(x + α·sign(∇L(x))), from a random point of the ball (Madry et al., Towards Deep Learning Models Resistant, 2018).

    With L2, ∇L/‖∇L‖₂ in place of the sign. Every iterate is judged, the last included. A restart fights for the survivors of
    those before it alone.

    Args:
        steps: >= 1.
        step_size: α/ε, >= 0; 0.25 is the usual 2/255 at ε = 8/255, and 0 stays where it starts.
        restarts: starts in all, >= 1; more than one need `random_start`.
        norm: "linf" or "l2".
        random_start: from a uniform point of the ball, else from the image itself.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        steps: int = 20,
        step_size: float = 0.25,
        restarts: int = 1,
        norm: str = "linf",
        random_start: bool = True,
    ) -> None:
        if steps < 1 or restarts < 1 or not step_size >= 0:
            raise ValueError(
                f"Expected `steps` >= 1, `restarts` >= 1 and `step_size` >= 0, but got {steps}, {restarts} and {step_size}."
            )
        if restarts > 1 and not random_start:
            raise ValueError(
                f"Expected one start without `random_start`, but got restarts={restarts}: all would be alike."
            )
        self.steps, self.step_size, self.restarts = steps, step_size, restarts
        self.norm, self.random_start = get_norm(norm), random_start
        self.name = f"PGD-{steps}" + (f"x{restarts}" if restarts > 1 else "")

    def accumulate(self, gradient: Tensor, before: Tensor | None) -> Tensor:
        """What the step follows.

        Args:
            gradient: at the present iterate.
            before: what the last step followed; None at the first.
        """
        return gradient

    def _climb(self, ledger: Ledger, images: Tensor, eps: float, generator: torch.Generator) -> list[float]:
        """One start; gives the trace."""
        index = ledger.alive
        trace: list[float] = []
        if not len(index):
            return trace
        centres, objective = images[index], ledger.objective.select(index)
        x, last = centres, torch.zeros(())
        if self.random_start:
            x = self.norm.project(x + self.norm.random(x, eps, generator), x, eps)
        followed: Tensor | None = None
        for step in range(self.steps):
            if not len(index):
                break
            losses, broken, gradient = ascend(objective, x, step / self.steps)
            # What each step brought to those it was made for: a mean over ever fewer would fall as lost images leave.
            trace.append(float((losses - last).mean()) + (trace[-1] if trace else 0.0))
            alive = ledger.note(index, x, losses, broken)
            last = losses[alive]
            if not bool(alive.all()):
                index, x, centres, gradient = index[alive], x[alive], centres[alive], gradient[alive]
                followed = None if followed is None else followed[alive]
                objective = ledger.objective.select(index)
            followed = self.accumulate(gradient, followed)
            x = self.norm.project(x + self.step_size * eps * self.norm.direction(followed), centres, eps)
        if len(index):
            ledger.try_out(index, x)
        return trace

    def __call__(self, objective: Objective, images: Tensor, eps: float, generator: torch.Generator) -> Attacked:
        """Attack one batch; see `Attack`. The trace is the first start's."""
        check_images(images)
        check_eps(eps, self.norm, images)
        ledger = Ledger(objective, images)
        ledger.trace = self._climb(ledger, images, eps, generator)
        for _ in range(self.restarts - 1):
            self._climb(ledger, images, eps, generator)
        return ledger.result()
