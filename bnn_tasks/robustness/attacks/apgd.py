"""Auto-PGD: projected gradient ascent that chooses its step size, and its targeted form."""

import torch
from torch import Tensor

from bnn_tasks.robustness.attacks.base import Attack, Attacked
from bnn_tasks.robustness.attacks.gradient import ascend
from bnn_tasks.robustness.attacks.ledger import Ledger
from bnn_tasks.robustness.norms import check_eps, check_images, get_norm, per_image
from bnn_tasks.robustness.objective import Objective

# Croce and Hein, 2020, section 3: ρ, the share of the new step beside the momentum, and in percent the first checkpoint, how
# much shorter each interval is than the last, and the shortest.
RHO = 0.75
MOMENTUM = 0.75
FIRST, SHORTER, SHORTEST = 22, 3, 6


def checkpoints(steps: int) -> list[int]:
    """w_j = ceil(p_j·N), p_0 = 0, p_1 = 0.22, p_j+1 = p_j + max(p_j - p_j-1 - 0.03, 0.06), behind w_0 and up to N.

    Args:
        steps: N >= 1.
    """
    share, width, found = FIRST, FIRST, []
    while share <= 100:
        found.append(-(-share * steps // 100))
        width = max(width - SHORTER, SHORTEST)
        share += width
    return sorted(set(found))


class _State:
    """What APGD keeps of each image that it fights for: the first dimension of every tensor is the image."""

    def __init__(self, x: Tensor, losses: Tensor, gradient: Tensor, step: float) -> None:
        self.x, self.before, self.gradient = x, x, gradient
        self.best_x, self.best_gradient, self.best_loss = x.clone(), gradient.clone(), losses.clone()
        self.last_loss, self.loss_at_check = losses, losses.clone()
        self.step = torch.full_like(losses, step)
        self.rises = torch.zeros_like(losses)
        self.halved = torch.ones_like(
            losses, dtype=torch.bool
        )  # the first checkpoint has none before it to compare with

    def keep(self, alive: Tensor) -> None:
        """Drop the images that are lost, `alive` (b,) bool."""
        vars(self).update({name: value[alive] for name, value in vars(self).items()})

    def record(self, losses: Tensor) -> None:
        """Enter what the present x gives; its gradient is in place."""
        self.rises += losses > self.last_loss
        self.last_loss = losses
        better = losses > self.best_loss
        self.best_x[better], self.best_gradient[better] = self.x[better], self.gradient[better]
        self.best_loss[better] = losses[better]

    def check(self, interval: int) -> None:
        """Halve the steps of the images that stalled, and set them back to their best point.

        Args:
            interval: w_j - w_j-1, steps since the last check.
        """
        oscillates = self.rises < RHO * interval
        stalls = ~self.halved & (self.loss_at_check == self.best_loss)
        halve = oscillates | stalls
        self.step = torch.where(halve, self.step / 2, self.step)
        where = per_image(halve, self.x)
        self.x = torch.where(where, self.best_x, self.x)
        self.gradient = torch.where(where, self.best_gradient, self.gradient)
        self.halved, self.loss_at_check = halve, self.best_loss.clone()
        self.rises = torch.zeros_like(self.rises)


class APGD(Attack):
    """Auto-PGD (Croce and Hein, Reliable Evaluation of Adversarial Robustness, AutoAttack, 2020, algorithm 1).

    z = Π(x_k + η·sign(∇L(x_k))), x_k+1 = Π(x_k + 0.75·(z - x_k) + 0.25·(x_k - x_k-1)); η starts at 2ε. At every checkpoint an
    image's η is halved and it returns to its best point, where fewer than 75 % of the steps since the last raised the loss, or
    where η was not halved then and the best loss is the same. With L2, ∇L/‖∇L‖₂ in place of the sign. Its loss is the
    objective's: APGD-CE and APGD-DLR are APGD on a `CrossEntropyObjective` and a `DLRObjective`.

    Args:
        steps: N >= 1, forward and backward passes; AutoAttack's 100.
        restarts: starts from random points in all, >= 1, each against the survivors alone.
        norm: "linf" or "l2".

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, steps: int = 100, restarts: int = 1, norm: str = "linf") -> None:
        if steps < 1 or restarts < 1:
            raise ValueError(f"Expected `steps` and `restarts` to be >= 1, but got {steps} and {restarts}.")
        self.steps, self.restarts, self.norm = steps, restarts, get_norm(norm)
        self.name = f"APGD-{steps}" + (f"x{restarts}" if restarts > 1 else "")

    def _move(self, state: _State, centres: Tensor, eps: float, first: bool) -> None:
        """One step; the first has no momentum."""
        share = 1.0 if first else MOMENTUM
        ahead = state.x + per_image(state.step, state.x) * self.norm.direction(state.gradient)
        ahead = self.norm.project(ahead, centres, eps)
        mixed = state.x + share * (ahead - state.x) + (1 - share) * (state.x - state.before)
        state.before, state.x = state.x, self.norm.project(mixed, centres, eps)

    def _climb(self, ledger: Ledger, images: Tensor, eps: float, generator: torch.Generator) -> list[float]:
        """One start; gives the trace."""
        index = ledger.alive
        if not len(index):
            return []
        centres = images[index]
        start = self.norm.project(centres + self.norm.random(centres, eps, generator), centres, eps)
        return self._ascend(ledger, images, start, eps, self.steps)

    def _ascend(self, ledger: Ledger, images: Tensor, start: Tensor, eps: float, steps: int) -> list[float]:
        """From given points of the images that `ledger` has alive; gives the trace."""
        index = ledger.alive
        centres, objective = images[index], ledger.objective.select(index)
        losses, broken, gradient = ascend(objective, start)
        state, trace, checks, last = _State(start, losses, gradient, 2 * eps), [], checkpoints(steps), 0
        alive = ledger.note(index, start, losses, broken)
        for step in range(1, steps + 1):
            if not bool(alive.all()):
                index, centres = index[alive], centres[alive]
                state.keep(alive)
                objective = ledger.objective.select(index)
            if not len(index):
                break
            self._move(state, centres, eps, first=step == 1)
            if step == steps:
                ledger.try_out(index, state.x)
                break
            losses, broken, state.gradient = ascend(objective, state.x, step / steps)
            trace.append(float(losses.mean()))
            alive = ledger.note(index, state.x, losses, broken)
            state.record(losses)
            if step in checks:
                state.check(step - last)
                last = step
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
