"""One attack through several surrogate gradients of the sign."""

from collections.abc import Mapping

import torch
from torch import Tensor

from bnn_tasks.binary import STE, ApproxSign, AttackSurrogate, ClippedSTE, attack_surrogate, spread_tanh
from bnn_tasks.robustness.attacks.base import Attack
from bnn_tasks.robustness.attacks.ledger import Ledger
from bnn_tasks.robustness.attacks.worst_case import MembersAttacked
from bnn_tasks.robustness.attacks.wrapped import WrappedAttack
from bnn_tasks.robustness.objective import Objective

OWN = "own"  # the member that differentiates through the surrogates that the net was trained with


def default_surrogates() -> dict[str, AttackSurrogate]:
    """Identity, clipped STE, ApproxSign, tanh at 1, 3 and 10 over the pre-activations' spread.

    No one approximation suits every net (Athalye et al., 2018, on BPDA), and the sharpness at which a tanh works best lies
    between the identity's bias and the sign's vanishing gradient.
    """
    return {
        "identity": STE(),
        "clip 1": ClippedSTE(),
        "ApproxSign": ApproxSign(),
        "tanh 1/σ": spread_tanh(1),
        "tanh 3/σ": spread_tanh(3),
        "tanh 10/σ": spread_tanh(10),
    }


class SurrogateSweep(WrappedAttack):
    """The worst case of one attack over the net's own surrogate and others, each by `attack_surrogate`.

    Unlike `WorstCase`, every member attacks every image, so that ``members`` tells what each alone would break: the heat map's
    column. A model without binary activations gives all members the same gradients: the others are then not run, and broke what
    the own broke.

    Args:
        attack: that differentiates.
        surrogates: name -> surrogate; without, `default_surrogates`.

    Raises:
        ValueError: `attack` needs no gradient, or `surrogates` has a member "own".
    """

    def __init__(self, attack: Attack, surrogates: Mapping[str, AttackSurrogate] | None = None) -> None:
        if not attack.needs_gradient:
            raise ValueError(f"Expected `attack` to be one that differentiates, but got {attack.name!r}.")
        super().__init__(attack, f"{attack.name} surrogate sweep", attack.objective)
        self.objective = attack.objective
        self.surrogates = dict(default_surrogates() if surrogates is None else surrogates)
        if OWN in self.surrogates:
            raise ValueError(f"Expected `surrogates` without {OWN!r}, which stands for the net's own.")

    def __call__(self, objective: Objective, images: Tensor, eps: float, generator: torch.Generator) -> MembersAttacked:
        """Attack one batch; see `Attack`. The trace is that of the net's own surrogate."""
        ledger = Ledger(objective, images)
        own = self.attack(objective, images, eps, generator)
        ledger.trace = own.trace
        ledger.merge_alive(own)
        members: dict[str, Tensor] = {OWN: own.broken}
        for name, surrogate in self.surrogates.items():
            with attack_surrogate(surrogate) as use:
                found = self.attack(objective, images, eps, generator)
            ledger.merge_alive(found)
            members[name] = found.broken
            if use.reads == 0:  # no binary activation was differentiated
                members.update(dict.fromkeys(self.surrogates, own.broken))
                break
        return MembersAttacked(**vars(ledger.result()), members=members)
