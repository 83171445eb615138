"""The attacker's choice of surrogate gradient, in place of the one that each activation was trained with.

How robust a binary net looks depends on the surrogate that an attack differentiates through: any is an approximation, and the
one that the net was trained with need not be the attacker's best (backward pass differentiable approximation: Athalye et al.,
Obfuscated Gradients, 2018). The choice is read in forward and holds for that forward's backward, wherever and whenever it runs.
Values never change, and weights keep their estimators: no gradient of the input runs through those.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor

from bnn_tasks.binary.estimators import Estimator, Tanh


class Stretched(Estimator):
    """g(x) = g_1(x/w)/w: an estimator made w times as wide, its integral kept.

    Args:
        estimator: g_1.
        width: w > 0, 0-dimensional.
    """

    def __init__(self, estimator: Estimator, width: Tensor) -> None:
        super().__init__()
        self.estimator, self.width = estimator, width

    def surrogate_gradient(self, x: Tensor) -> Tensor:
        """g_1(x/w)/w."""
        width = self.width.to(x.dtype)
        return self.estimator.surrogate_gradient(x / width) / width


class SpreadScaled:
    """An estimator measured in standard deviations: g(x) = g_1(x/σ)/σ, σ the spread of what a layer's signs see in this batch.

    σ is the population standard deviation over the whole tensor, detached, of every layer and forward anew.

    Args:
        estimator: g_1; Tanh(k) gives g(x) = k/σ·(1 - tanh²(k·x/σ)).
    """

    def __init__(self, estimator: Estimator) -> None:
        self.estimator = estimator

    def fit(self, x: Tensor) -> Estimator:
        """The estimator at the spread of `x`, any shape."""
        # The floor is for constant inputs, whose gradient should stay finite.
        return Stretched(self.estimator, x.detach().float().std(correction=0).clamp_min(1e-5))


AttackSurrogate = Estimator | SpreadScaled


def spread_tanh(sharpness: float) -> SpreadScaled:
    """g(x) = k/σ·(1 - tanh²(k·x/σ)).

    Args:
        sharpness: k > 0. As it grows the gradient nears the sign's own: most of it 0, so that the best k lies between.

    Raises:
        ValueError: `sharpness` is out of range.
    """
    return SpreadScaled(Tanh(sharpness))


@dataclass
class Use:
    """What became of a surrogate in force.

    Attributes:
        reads: signs that were taken under it; 0 after a forward means that the model has no binary activation in it, or is
            compiled, and so computed its own gradient.
    """

    reads: int = 0


_IN_FORCE: ContextVar[tuple[AttackSurrogate, Use] | None] = ContextVar("attack_surrogate", default=None)


@contextmanager
def attack_surrogate(surrogate: AttackSurrogate) -> Iterator[Use]:
    """Within the block and this thread, let the sign of every binary activation have this gradient; the innermost block wins.

    Activations that are real, and those of a method that has not hardened yet, have a derivative of their own and keep it.
    A net compiled by torch.compile cannot see the switch: `CompiledForward` refuses to run under it.

    Args:
        surrogate: an `Estimator`, or a `SpreadScaled` one.

    Raises:
        TypeError: `surrogate` is neither, for instance a name.
    """
    if not isinstance(surrogate, AttackSurrogate):
        raise TypeError(
            f"Expected `surrogate` to be an Estimator object, as STE(), or a SpreadScaled one, but got {surrogate!r}."
        )
    use = Use()
    token = _IN_FORCE.set((surrogate, use))
    try:
        yield use
    finally:
        _IN_FORCE.reset(token)


def surrogate_in_force() -> AttackSurrogate | None:
    """The innermost block's surrogate; None outside."""
    found = _IN_FORCE.get()
    return None if found is None else found[0]


def replacement(x: Tensor) -> Estimator | None:
    """The surrogate in force for the signs of `x`; None outside, where the activation's own gradient holds.

    Args:
        x: what the sign is taken of, any shape.
    """
    if torch.compiler.is_compiling():  # what the compiler sees once would hold for ever
        return None
    found = _IN_FORCE.get()
    if found is None:
        return None
    surrogate, use = found
    use.reads += 1
    return surrogate.fit(x) if isinstance(surrogate, SpreadScaled) else surrogate


def in_force(own: Estimator, x: Tensor) -> Estimator:
    """The surrogate in force for the signs of `x`, or else `own`.

    Args:
        own: the activation's estimator.
        x: what the sign is taken of, any shape.
    """
    other = replacement(x)
    return own if other is None else other
