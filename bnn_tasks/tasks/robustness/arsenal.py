"""Which attacks a study runs, with one budget for all."""

from collections.abc import Sequence

from bnn_tasks.binary import spread_tanh
from bnn_tasks.robustness.attacks import (
    APGD,
    FGSM,
    MIFGSM,
    NJS,
    PGD,
    Attack,
    Raising,
    RandomNoise,
    SurrogateSweep,
    TargetedDLR,
    TemperatureScaled,
    Transfer,
    common_norm,
    default_surrogates,
)
from bnn_tasks.robustness.attacks.base import require_objective
from bnn_tasks.robustness.attacks.square import Square
from bnn_tasks.robustness.dlr import DLRObjective
from bnn_tasks.robustness.norms import get_norm
from bnn_tasks.robustness.objective import CrossEntropyObjective, MarginObjective
from bnn_tasks.tasks.robustness.victims import Victim, run_name

SHARPNESS = (1.0, 3.0, 10.0, 30.0)  # k of tanh(k·x/σ): beyond both ends of where the best one was seen on toy nets
AUTO_ATTACK_TARGETS = 9


def tanh_name(k: float) -> str:
    """Of a sweep's member."""
    return f"tanh {k:g}/σ"


class Arsenal:
    """Attacks of one norm and one number of steps.

    Args:
        steps: of the gradient attacks, >= 1.
        step_size: of PGD, as a share of ε; 0.25 is the usual 2/255 at 8/255.
        queries: of Square, >= 2.
        norm: "linf" or "l2".
        extra: further attacks of that norm, with names of their own: `EOT` for a net with random outputs, a hard-label attack.

    Attributes:
        noise: the control.
        fgsm: one step.
        iterated: PGD with the net's own gradient, of as many starts as the sweep has members.
        rescaled: PGD on rescaled logits.
        sweep: PGD through other surrogates.
        dlr: APGD on DLR, whose value does not depend on the logits' scale.
        square: random search, on the margin.
        extra: as given.

    Raises:
        ValueError: an argument is out of range, or an extra attack is of another norm.
        TypeError: an extra attack is of another task.
    """

    def __init__(
        self,
        steps: int = 20,
        step_size: float = 0.25,
        queries: int = 500,
        norm: str = "linf",
        extra: list[Attack] | None = None,
    ) -> None:
        get_norm(norm)
        self.steps, self.step_size, self.queries, self.norm = steps, step_size, queries, norm
        fixed = {name: found for name, found in default_surrogates().items() if not name.startswith("tanh")}
        surrogates = fixed | {tanh_name(k): spread_tanh(k) for k in SHARPNESS}
        self.extra = list(extra or [])
        self.noise = RandomNoise(norm=norm)
        common_norm([self.noise, *self.extra])
        for attack in self.extra:
            require_objective(attack, CrossEntropyObjective)
        self.fgsm = FGSM(norm=norm)
        self.iterated = self.pgd(steps, len(surrogates) + 1)
        self.rescaled = TemperatureScaled(self.pgd(steps), NJS())
        self.sweep = SurrogateSweep(self.pgd(steps), surrogates)
        self.dlr: Attack = Raising(APGD(steps, norm=norm), DLRObjective)
        self.square: Attack = Raising(Square(queries, norm=norm), MarginObjective)
        names = [attack.name for attack in self.all(AUTO_ATTACK_TARGETS + 1, True, True, [])]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"Expected `extra` attacks with names of their own, but {', '.join(twice)} is there. Cure: leave it out."
            )

    def pgd(self, steps: int, restarts: int = 1) -> PGD:
        """PGD with the net's own gradient.

        Args:
            steps: >= 1.
            restarts: >= 1.
        """
        return PGD(steps, self.step_size, restarts, self.norm)

    def gradient_attacks(self, classes: int, binary: bool) -> list[Attack]:
        """White-box attacks.

        Args:
            classes: K >= 2; DLR needs three, its targeted form four.
            binary: whether the net has surrogates to sweep.
        """
        apgd = APGD(self.steps, norm=self.norm)
        attacks: list[Attack] = [self.fgsm, self.iterated, self.rescaled, apgd]
        attacks += [self.dlr] if classes >= 3 else []
        attacks += [TargetedDLR(apgd, min(AUTO_ATTACK_TARGETS, classes - 1))] if classes >= 4 else []
        attacks += [self.sweep] if binary else []
        return attacks + [attack for attack in self.extra if attack.needs_gradient]

    @property
    def black_box_attacks(self) -> list[Attack]:
        """Those that ask for outputs alone."""
        return [self.square, *(attack for attack in self.extra if not attack.needs_gradient)]

    def transfers(self, others: Sequence[Victim]) -> list[Attack]:
        """From each of the other nets, and from all together.

        Args:
            others: nets with gradients.
        """
        one = MIFGSM(self.steps, norm=self.norm)
        names = [run_name(other.path) for other in others]
        if len(set(names)) < len(names):
            names = [other.path for other in others]
        attacks: list[Attack] = [Transfer(one, [other], name) for other, name in zip(others, names, strict=True)]
        return attacks + ([Transfer(one, others, "all of them")] if len(others) > 1 else [])

    def all(self, classes: int, binary: bool, differentiable: bool, others: Sequence[Victim]) -> list[Attack]:
        """Every attack, weakest first.

        Args:
            classes: K.
            binary: as for `gradient_attacks`.
            differentiable: whether gradients reach the images.
            others: nets with gradients.
        """
        white = self.gradient_attacks(classes, binary) if differentiable else []
        return [self.noise, *white, *self.transfers(others), *self.black_box_attacks]
