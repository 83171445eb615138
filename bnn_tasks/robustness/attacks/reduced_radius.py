"""APGD that comes from outside: a wider ball first, then the one that counts."""

import torch
from torch import Tensor

from bnn_tasks.robustness.attacks.apgd import APGD, _State, checkpoints
from bnn_tasks.robustness.attacks.base import Attacked
from bnn_tasks.robustness.attacks.gradient import ascend
from bnn_tasks.robustness.attacks.ledger import Ledger
from bnn_tasks.robustness.norms import check_eps, check_images
from bnn_tasks.robustness.objective import Objective

# Radius over ε and share of the steps, stage by stage (Croce et al., SEA, 2023).
STAGES = ((2.0, 0.3), (1.5, 0.3), (1.0, 0.4))


class _Ahead(Objective):
    """An objective's value alone: what lies outside the ball is climbed, but neither judged nor lost."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def __call__(self, images: Tensor, progress: float = 0.0) -> Tensor:
        return self.objective(images, progress)

    def broken(self, images: Tensor) -> Tensor:
        return torch.zeros(len(images), dtype=torch.bool, device=images.device)

    def select(self, index: Tensor) -> "_Ahead":
        return _Ahead(self.objective.select(index))


class ReducedRadiusAPGD(APGD):
    """APGD in balls of radius 2ε, 1.5ε and ε with 30, 30 and 40 % of the steps (Croce et al., SEA, 2023).

    Each stage starts from the best point of the one before, projected to its ball, the first from a random one. Reconstructed:
    best is of highest objective, and step size and progress begin anew in every stage. Only what lies within ε is judged: the
    stages before call the objective, they do not ask it whether an image is lost.

    Args:
        steps: of all stages, >= 10, so that each has some; SEA's 300.
        norm: "linf" or "l2".

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, steps: int = 300, norm: str = "linf") -> None:
        super().__init__(steps, 1, norm)
        if steps < 10:
            raise ValueError(f"Expected `steps` to be >= 10, some a stage, but got {steps}.")
        self.name = f"reduced-radius APGD-{steps}"

    def _stage(self, book: Ledger, images: Tensor, start: Tensor, eps: float, steps: int) -> list[float]:
        """One ball from given points; gives the trace. `start` is of the images that `book` has alive."""
        index = book.alive
        centres, objective = images[index], book.objective.select(index)
        losses, broken, gradient = ascend(objective, start)
        state, trace, checks, last = _State(start, losses, gradient, 2 * eps), [], checkpoints(steps), 0
        alive = book.note(index, start, losses, broken)
        for step in range(1, steps + 1):
            if not bool(alive.all()):
                index, centres = index[alive], centres[alive]
                state.keep(alive)
                objective = book.objective.select(index)
            if not len(index):
                break
            self._move(state, centres, eps, first=step == 1)
            if step == steps:
                book.try_out(index, state.x)
                break
            losses, broken, state.gradient = ascend(objective, state.x, step / steps)
            trace.append(float(losses.mean()))
            alive = book.note(index, state.x, losses, broken)
            state.record(losses)
            if step in checks:
                state.check(step - last)
                last = step
        return trace

    def __call__(self, objective: Objective, images: Tensor, eps: float, generator: torch.Generator) -> Attacked:
        """Attack one batch; see `Attack`. The trace is of all stages."""
        check_images(images)
        check_eps(eps, self.norm, images)
        ledger = Ledger(objective, images)
        index = ledger.alive
        if not len(index):
            return ledger.result()
        centres, ahead = images[index], _Ahead(objective.select(index))
        wide = STAGES[0][0] * eps
        x = self.norm.project(centres + self.norm.random(centres, wide, generator), centres, wide)
        for factor, share in STAGES[:-1]:
            book = Ledger(ahead, self.norm.project(x, centres, factor * eps))
            ledger.trace += self._stage(book, centres, book.images.clone(), factor * eps, round(share * self.steps))
            ledger.queries[index] += book.queries
            x = book.images
        steps = self.steps - sum(round(share * self.steps) for _, share in STAGES[:-1])
        ledger.trace += self._stage(ledger, images, self.norm.project(x, centres, eps), eps, steps)
        return ledger.result()
