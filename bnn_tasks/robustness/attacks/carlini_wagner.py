"""Carlini and Wagner's attack for the L2 norm."""

import torch
from torch import Tensor

from bnn_tasks.robustness.attacks.base import Attack, Attacked
from bnn_tasks.robustness.attacks.gradient import ascend
from bnn_tasks.robustness.attacks.ledger import Ledger
from bnn_tasks.robustness.attacks.wrapped import revalued
from bnn_tasks.robustness.norms import L2, check_eps, check_images, per_image
from bnn_tasks.robustness.objective import ClassificationObjective, MarginObjective, Objective, of_kind

# The authors' l2_attack.py: the largest tanh, which atanh can take back, and the factor of c while no c has worked.
_INSIDE = 0.999999
_GROWTH = 10.0
# torch.optim.Adam's moments and ε, which are Kingma and Ba's.
_BETA1, _BETA2, _ADAM_EPS = 0.9, 0.999, 1e-8


class CarliniWagner(Attack):
    """min ‖x' - x‖₂² + c·max(z_y - max_{k≠y} z_k, -κ), x' = (tanh(w) + 1)/2 (Carlini and Wagner, 2017, section VI.A).

    Adam over w, and a binary search for each image's c. It looks for the nearest image, not for one within a radius: an image
    is lost once one is found whose distance is at most ε, and leaves. The nearest images of the others, shortened to ε, have a
    last try. The loss is the margin, whatever the objective.

    Args:
        steps: of Adam for every c, >= 1; the authors' 1000 with an early stop.
        searches: values of c, >= 1; the authors' 9.
        constant: first c, > 0; the authors' 1e-3 needs their nine searches.
        learning_rate: Adam's, > 0; the authors' 1e-2.
        confidence: κ >= 0.

    Raises:
        ValueError: an argument is out of range.
    """

    objective = ClassificationObjective

    def __init__(
        self,
        steps: int = 100,
        searches: int = 5,
        constant: float = 1.0,
        learning_rate: float = 1e-2,
        confidence: float = 0.0,
    ) -> None:
        if steps < 1 or searches < 1 or not constant > 0 or not learning_rate > 0 or not confidence >= 0:
            raise ValueError(
                "Expected `steps` and `searches` >= 1, `constant` and `learning_rate` > 0 and `confidence` >= 0, but got "
                f"{steps}, {searches}, {constant}, {learning_rate} and {confidence}."
            )
        self.steps, self.searches, self.constant = steps, searches, constant
        self.learning_rate, self.confidence = learning_rate, confidence
        self.norm = L2()
        self.name = f"C&W-{searches}x{steps}"

    def _descend(self, ledger: Ledger, images: Tensor, eps: float, constant: Tensor, nearest: Tensor) -> Tensor:
        """Adam at one c for the images that are alive; gives which were lost at any distance, (B,) bool.

        Args:
            ledger: of the margin.
            images: (B, C, H, W), the originals.
            eps: radius.
            constant: (B,).
            nearest: (B, C, H, W), lost images or, where there is none yet, NaN; filled in place.
        """
        index = ledger.alive
        worked = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        w = torch.atanh((2 * images[index] - 1) * _INSIDE)
        first, second = torch.zeros_like(w), torch.zeros_like(w)
        for step in range(1, self.steps + 1):
            centres = images[index]
            squashed = torch.tanh(w)
            x = (squashed + 1) / 2
            margin, broken, slope = ascend(ledger.objective.select(index), x)
            broken &= margin >= self.confidence
            distance = self.norm.length(x - centres)
            within = distance <= eps
            alive = ledger.note(index, x, torch.where(within, margin, -torch.inf), broken & within)
            worked[index[broken]] = True
            closer = broken & ~(distance >= self.norm.length(nearest[index] - centres))  # also where that is NaN
            nearest[index[closer]] = x[closer]
            # d/dx of ‖x - centre‖² + c·max(-margin, -κ), then through x(w).
            pull = per_image(constant[index] * (margin < self.confidence), x) * slope
            gradient = (2 * (x - centres) - pull) * (1 - squashed.square()) / 2
            first = _BETA1 * first + (1 - _BETA1) * gradient
            second = _BETA2 * second + (1 - _BETA2) * gradient.square()
            scale = (second / (1 - _BETA2**step)).sqrt() + _ADAM_EPS
            w = w - self.learning_rate * first / (1 - _BETA1**step) / scale
            index, w, first, second = index[alive], w[alive], first[alive], second[alive]
            if not len(index):
                break
        return worked

    def __call__(self, objective: Objective, images: Tensor, eps: float, generator: torch.Generator) -> Attacked:
        """Attack one batch; see `Attack`. Nothing is random, and there is no trace.

        Raises:
            TypeError: the objective is not a classifier's.
        """
        check_images(images)
        check_eps(eps, self.norm, images)
        given = of_kind(objective, ClassificationObjective)
        ledger = Ledger(MarginObjective(given.model, given.labels), images)
        constant = torch.full((len(images),), self.constant, device=images.device)
        low, high = torch.zeros_like(constant), torch.full_like(constant, torch.inf)
        nearest = torch.full_like(images, torch.nan)
        for _ in range(self.searches):
            if not len(ledger.alive):
                break
            worked = self._descend(ledger, images, eps, constant, nearest)
            low, high = torch.where(worked, low, constant), torch.where(worked, constant, high)
            constant = torch.where(high.isinf(), constant * _GROWTH, (low + high) / 2)
        index = ledger.alive
        index = index[~nearest[index].flatten(1).isnan().any(1)]
        ledger.try_out(index, self.norm.project(nearest[index], images[index], eps))
        return revalued(ledger.result(), given)
