"""The rules of the verdict: each looks at the facts for one sign that a robust accuracy is not to be believed."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from bnn_tasks.robustness.facts import Facts

WEAK = "attack too weak"
MASKED = "gradient masking suspected"

ATHALYE = "Athalye, Carlini and Wagner, Obfuscated Gradients, 2018"
AUTO_ATTACK = "AutoAttack's checks (Croce and Hein, 2020)"
CARLINI = "Carlini et al., On Evaluating Adversarial Robustness, 2019"
OURS = "ours"

SMALL_EPS = 1 / 255  # a ladder that begins higher can hide everything: binary toy nets fell to 0 before 8/255


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        name: in reports.
        label: what it speaks for, `WEAK` or `MASKED`.
        threshold: what ``check`` compares with; a share, unless the check says otherwise.
        source: of the rule; where the threshold is ours, that is said.
        check: (facts, threshold) -> why the rule fires; None where it does not, or nothing was measured that it could judge.
    """

    name: str
    label: str
    threshold: float
    source: str
    check: Callable[[Facts, float], str | None]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _radius(eps: float) -> str:
    """As ladders and sweeps are given."""
    return f"{255 * eps:.4g}/255"


def _nothing_left(facts: Facts) -> bool:
    """Whether PGD or APGD leaves no more than chance: there is nothing left that could be masked, or be lost by more steps."""
    return facts.iterated is not None and not facts.above(facts.iterated, 1 / facts.classes, 0.0)


def no_reach(facts: Facts, threshold: float) -> str | None:
    """The steps together are shorter than `threshold` radii: the border of the ball is out of reach."""
    if facts.steps is None or facts.step_size is None or facts.steps * facts.step_size >= threshold:
        return None
    return f"{facts.steps} steps of {facts.step_size:g} ε cannot cross the ball"


def no_movement(facts: Facts, threshold: float) -> str | None:
    """The longest perturbation is shorter than `threshold` radii."""
    if facts.largest_change is None or facts.largest_change >= threshold:
        return None
    return f"the attack used no more than {facts.largest_change:.3g} of its radius"


def random_outputs(facts: Facts, threshold: float) -> str | None:
    """Normalised logits differ by more than `threshold` from pass to pass."""
    if facts.output_spread is None or facts.output_spread <= threshold:
        return None
    return (
        f"the outputs are random (normalised logits differ by {facts.output_spread:.2g} from pass to pass): attack the "
        "expectation (EOT)"
    )


def zero_gradients(facts: Facts, threshold: float) -> str | None:
    """More than `threshold` of the images have no gradient."""
    if not facts.above(facts.zero_gradients, 0.0, threshold):
        return None
    return f"{_percent(facts.zero_gradients)} of the images have a gradient of zero"


def saturated(facts: Facts, threshold: float) -> str | None:
    """The softmax of more than `threshold` of the images is 1 in float32, and something survives."""
    if _nothing_left(facts) or not facts.above(facts.saturated, 0.0, threshold):
        return None
    return (
        f"the softmax of {_percent(facts.saturated)} of the images is saturated: cross entropy has next to no gradient"
    )


def rescaled(facts: Facts, threshold: float) -> str | None:
    """Setting the logits' temperature loses more than `threshold` further than the losses that have none to set."""
    plain = min((value for value in (facts.iterated, facts.margin) if value is not None), default=None)
    if not facts.above(plain, facts.rescaled, threshold):
        return None
    return f"rescaled logits take the attack from {_percent(plain)} to {_percent(facts.rescaled)}"


def surrogates(facts: Facts, threshold: float) -> str | None:
    """Other surrogate gradients lose more than `threshold` further."""
    if not facts.above(facts.iterated, facts.surrogates, threshold):
        return None
    return (
        f"the net's own surrogate gradient leaves {_percent(facts.iterated)}, the worst over other surrogates "
        f"{_percent(facts.surrogates)}"
    )


def noise_stronger(facts: Facts, threshold: float) -> str | None:
    """Random noise loses more than `threshold` more than the gradient attack."""
    if not facts.above(facts.iterated, facts.noise, threshold):
        return None
    return f"random noise of the same size ({_percent(facts.noise)}) beats the attack ({_percent(facts.iterated)})"


def one_step_stronger(facts: Facts, threshold: float) -> str | None:
    """One step loses more than `threshold` more than many."""
    if not facts.above(facts.iterated, facts.one_step, threshold):
        return None
    return f"one step ({_percent(facts.one_step)}) beats many ({_percent(facts.iterated)})"


def black_box_stronger(facts: Facts, threshold: float) -> str | None:
    """More than `threshold` of the images fall to a gradient-free attack alone."""
    if not facts.above(facts.black_box_alone, 0.0, threshold):
        return None
    return f"{_percent(facts.black_box_alone)} of the images fall to a gradient-free attack and to no gradient attack"


def transfer_stronger(facts: Facts, threshold: float) -> str | None:
    """More than `threshold` of the images fall to another net's gradients alone."""
    if not facts.above(facts.transfer_alone, 0.0, threshold):
        return None
    return f"{_percent(facts.transfer_alone)} of the images fall to another net's gradients and not to the net's own"


def not_falling(facts: Facts, threshold: float) -> str | None:
    """Accuracy under one attack rises by more than `threshold` from one ε to the next."""
    for (small, before), (large, after) in pairwise(facts.separate or ()):
        if facts.above(after, before, threshold):
            return f"accuracy rises from {_percent(before)} at ε = {_radius(small)} to {_percent(after)} at {_radius(large)}"
    return None


def unbounded_fails(facts: Facts, threshold: float) -> str | None:
    """At an ε where any image may turn grey, accuracy is more than `threshold` above chance."""
    for eps, accuracy in facts.ladder or ():
        if eps >= facts.total and facts.above(accuracy, 1 / facts.classes, threshold):
            return f"{_percent(accuracy)} survive ε = {_radius(eps)}, where every image can be made grey"
    return None


def not_converged(facts: Facts, threshold: float) -> str | None:
    """The last increase of the number of steps still takes off more than `threshold`."""
    points = facts.step_counts or ()
    if len(points) < 2:
        return None
    (few, before), (many, after) = points[-2:]
    if not facts.above(before, after, threshold):
        return None
    return f"{many:g} steps leave {_percent(after)}, {few:g} steps {_percent(before)}: more may take off more"


def still_rising(facts: Facts, threshold: float) -> str | None:
    """The last tenth of the steps brought more than `threshold` of the loss's rise, and something survives."""
    if _nothing_left(facts) or facts.late_gain is None or facts.late_gain <= threshold:
        return None
    return f"the loss was still rising: {_percent(facts.late_gain)} of its gain fell to the last tenth of the steps"


def sweep_at_its_edge(facts: Facts, threshold: float) -> str | None:
    """The sharpest or the softest surrogate is the best of all by more than `threshold` over its neighbour."""
    points = facts.sharpness or ()
    if len(points) < 2:
        return None
    for (edge, best), (_, neighbour) in ((points[0], points[1]), (points[-1], points[-2])):
        others = [neighbour, *(value for value in (facts.blunt, facts.iterated) if value is not None)]
        if best == min(accuracy for _, accuracy in points) and facts.above(min(others), best, threshold):
            return f"the best surrogate, k = {edge:g}, is the last of the sweep: one beyond it may be better"
    return None


def unmeasured(facts: Facts, threshold: float) -> str | None:
    """What a trustworthy report must hold is missing, or there are fewer than `threshold` images."""
    ladder = [eps for eps, _ in facts.ladder or () if eps > 0]
    needed = {
        "random noise": facts.noise is not None,
        "a one-step attack": facts.one_step is not None,
        "an iterated attack": facts.iterated is not None,
        "its steps and step size": facts.steps is not None and facts.step_size is not None,
        "two numbers of steps": len(facts.step_counts or ()) >= 2,
        "a gradient-free attack": facts.black_box is not None,
        "the share of zero gradients": facts.zero_gradients is not None,
        "whether outputs are random": facts.output_spread is not None,
        "an ε of at most 1/255": bool(ladder) and ladder[0] <= SMALL_EPS + 1e-9,
        f"an ε of at least {_radius(facts.total)}": bool(ladder) and ladder[-1] >= facts.total,
        "other surrogate gradients": facts.surrogates is not None or not facts.binary,
        f"{threshold:g} images (there are {facts.images})": facts.images >= threshold,
    }
    missing = [name for name, there in needed.items() if not there]
    return f"not measured: {', '.join(missing)}" if missing else None


# The first rule that fires gives the label: an attack that cannot have worked says nothing about gradients, but one that did
# not move for want of a gradient says that.
RULES: tuple[Rule, ...] = (
    Rule("no reach", WEAK, 1.0, OURS, no_reach),
    Rule("random outputs", MASKED, 1e-4, AUTO_ATTACK, random_outputs),
    Rule("zero gradients", MASKED, 0.01, f"{AUTO_ATTACK} warn from one image on; the share is ours", zero_gradients),
    Rule("saturated softmax", MASKED, 0.1, f"Galloway et al., 2018; the share is {OURS}", saturated),
    Rule("no movement", WEAK, 0.5, OURS, no_movement),
    Rule("rescaled logits", MASKED, 0.01, f"Gupta and Ajanthan, 2020; the margin is {OURS}", rescaled),
    Rule("other surrogates", MASKED, 0.01, f"Athalye et al., 2018 (BPDA); the margin is {OURS}", surrogates),
    Rule("noise is stronger", MASKED, 0.01, f"{ATHALYE}; the margin is {OURS}", noise_stronger),
    Rule("one step is stronger", MASKED, 0.01, f"{ATHALYE}; the margin is {OURS}", one_step_stronger),
    Rule("gradient-free is stronger", MASKED, 0.002, AUTO_ATTACK, black_box_stronger),
    Rule("transfer is stronger", MASKED, 0.002, f"{ATHALYE}; the margin is AutoAttack's", transfer_stronger),
    Rule("more ε does not help", MASKED, 0.01, f"{ATHALYE}; the margin is {OURS}", not_falling),
    Rule("unbounded attack fails", MASKED, 0.05, f"{ATHALYE}; the margin is {OURS}", unbounded_fails),
    Rule("not converged", WEAK, 0.01, f"{CARLINI}; the margin is {OURS}", not_converged),
    Rule("loss still rising", WEAK, 0.1, f"{OURS}: a steady rise brings a tenth", still_rising),
    Rule("sweep at its edge", WEAK, 0.01, OURS, sweep_at_its_edge),
    Rule("unmeasured", WEAK, 100, f"{CARLINI}; the number of images is {OURS}", unmeasured),
)
