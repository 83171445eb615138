"""What every attack takes and gives."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bnn_tasks.robustness.norms import Norm
from bnn_tasks.robustness.objective import Objective


@dataclass
class Attacked:
    """What an attack found, image by image.

    Attributes:
        images: (B, C, H, W) in [0, 1], within ε of the originals: of a lost image the one that lost it, else the best found.
        broken: (B,) bool, lost at any iterate, not only at the last.
        losses: (B,) the objective's value at ``images``.
        queries: (B,) int64, forward passes spent on each image.
        trace: mean objective after every step, over the images still fought for (PGD's adds up what each step brought to
            them); empty where there are no steps.
    """

    images: Tensor
    broken: Tensor
    losses: Tensor
    queries: Tensor
    trace: list[float] = field(default_factory=list)


class Attack:
    """Base class: everything random is drawn from the generator, so that one seed gives one result.

    Attributes:
        name: in reports.
        norm: what ε is measured in.
        needs_gradient: whether it differentiates the objective; an exported artifact can be attacked without only.
        sees_values: whether it raises the objective's values; a hard-label attack asks what is lost alone, and its
            `Attacked.losses` are no values.
        objective: the kind of objectives that it can be given.
    """

    name: str
    norm: Norm
    needs_gradient: bool = True
    sees_values: bool = True
    objective: type[Objective] = Objective

    def __call__(self, objective: Objective, images: Tensor, eps: float, generator: torch.Generator) -> Attacked:
        """Attack one batch.

        Args:
            objective: bound to the batch; raised.
            images: (B, C, H, W) in [0, 1].
            eps: radius of the ball, >= 0: largest change of a value for L∞, Euclidean length of an image's change for L2.
            generator: on the CPU.

        Raises:
            ValueError: images outside [0, 1], or `eps` outside its range.
        """
        raise NotImplementedError


def common_norm(attacks: Sequence[Attack]) -> Norm:
    """The norm of all `attacks`, without which one ε means a different ball to each.

    Args:
        attacks: at least one.

    Raises:
        ValueError: they have different norms.
    """
    norm = attacks[0].norm
    for attack in attacks:
        if attack.norm.name != norm.name:
            raise ValueError(
                f"Expected attacks of one norm, but {attacks[0].name} is of {norm.name!r} and {attack.name} of "
                f"{attack.norm.name!r}. Cure: give all of them the same `norm`."
            )
    return norm


def common_objective(attacks: Sequence[Attack]) -> type[Objective]:
    """The kind of objectives that all `attacks` can be given.

    Args:
        attacks: at least one.

    Raises:
        TypeError: there is none.
    """
    narrowest = max((attack.objective for attack in attacks), key=lambda kind: len(kind.mro()))
    for attack in attacks:
        require_objective(attack, narrowest)
    return narrowest


def require_objective(attack: Attack, kind: type[Objective]) -> None:
    """Refuse an attack that knows another kind of objectives alone.

    Args:
        attack: that is to be run.
        kind: of the objective that it will be given.

    Raises:
        TypeError: it cannot be given one.
    """
    if not issubclass(kind, attack.objective):
        raise TypeError(
            f"Expected an attack of any objective, or of {kind.__name__}, but {attack.name} takes {attack.objective.__name__} "
            "alone. Cure: PGD, APGD or noise, which take any, or an attack of this task."
        )


def require_values(attack: Attack) -> None:
    """Refuse an attack on labels alone where nothing ever counts as lost, so that it would change nothing.

    Args:
        attack: that is to be run.

    Raises:
        ValueError: it sees no values.
    """
    if not attack.sees_values:
        raise ValueError(
            f"Expected an attack that raises a value, but {attack.name} asks alone what is lost, and nothing is here. "
            "Cure: PGD, or Square where there is no gradient."
        )
