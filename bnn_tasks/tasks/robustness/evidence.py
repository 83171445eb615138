"""What a verdict rests on, read off the attacks of a study."""

from collections.abc import Mapping, Sequence

import torch

from bnn_tasks.robustness.attacks import Attacked, MembersAttacked
from bnn_tasks.robustness.diagnostics import output_spread, saturated_share, zero_gradient_share
from bnn_tasks.robustness.facts import Facts
from bnn_tasks.robustness.norms import get_norm
from bnn_tasks.tasks.robustness.arsenal import SHARPNESS, Arsenal, tanh_name
from bnn_tasks.tasks.robustness.findings import Accuracy, late_gain
from bnn_tasks.tasks.robustness.subject import Subject


def facts_of(
    subject: Subject,
    found: Mapping[str, Attacked],
    arsenal: Arsenal,
    eps: float,
    ladder: Sequence[tuple[float, Accuracy]],
    convergence: Sequence[tuple[int, float]],
    separate: Sequence[tuple[float, float]],
) -> Facts:
    """The record that `judge` reads.

    Args:
        subject: victim and images.
        found: name of an attack -> what it found at ε, on the images that are right without it.
        arsenal: the attacks.
        eps: ε > 0.
        ladder: (ε, worst case).
        convergence: (steps, accuracy).
        separate: (ε, accuracy) of PGD, each ε by itself.
    """
    white = subject.victim.differentiable
    gradient = [attack.name for attack in arsenal.gradient_attacks(subject.classes, subject.binary)] if white else []
    black_box = [attack.name for attack in arsenal.black_box_attacks]
    outside = {arsenal.noise.name, *black_box, *gradient}
    transfers = [name for name in found if name not in outside]

    def left(name: str) -> float | None:
        return subject.accuracy(found[name].broken).value if name in found else None

    def alone(names: Sequence[str]) -> float | None:
        """Share of the images that one of `names` loses and no gradient attack does."""
        if not names or not gradient:
            return None
        lost = torch.stack([found[name].broken for name in names]).any(0)
        return subject.share(lost & ~torch.stack([found[name].broken for name in gradient]).any(0))

    iterated, swept = found.get(arsenal.iterated.name), found.get(arsenal.sweep.name)
    sharpness, blunt = None, None
    if isinstance(swept, MembersAttacked):
        members = {name: subject.accuracy(broken).value for name, broken in swept.members.items()}
        sharpness = tuple((k, members.pop(tanh_name(k))) for k in SHARPNESS)
        blunt = min(members.values())
    probed = subject.probed
    return Facts(
        images=len(subject.images),
        classes=subject.classes,
        binary=subject.binary,
        clean=float(subject.right.float().mean()),
        noise=left(arsenal.noise.name),
        one_step=left(arsenal.fgsm.name),
        iterated=left(arsenal.iterated.name),
        steps=arsenal.steps if white else None,
        step_size=arsenal.step_size if white else None,
        largest_change=None
        if iterated is None
        else float(get_norm(arsenal.norm).length(iterated.images - subject.x).max()) / eps,
        margin=left(arsenal.dlr.name),
        late_gain=None if iterated is None else late_gain(iterated.trace),
        rescaled=left(arsenal.rescaled.name),
        surrogates=left(arsenal.sweep.name),
        sharpness=sharpness,
        blunt=blunt,
        black_box=left(arsenal.square.name),
        black_box_alone=alone(black_box),
        transfer_alone=alone(transfers),
        step_counts=tuple((float(count), value) for count, value in convergence) or None,
        separate=tuple(separate) or None,
        total=get_norm(arsenal.norm).total(subject.images),
        ladder=tuple((step, point.value) for step, point in ladder),
        zero_gradients=zero_gradient_share(subject.objective.select(probed), subject.x[probed]) if white else None,
        saturated=saturated_share(subject.logits),
        output_spread=output_spread(subject.victim, subject.images[: len(probed)]),
    )
