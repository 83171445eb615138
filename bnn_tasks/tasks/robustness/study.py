"""Everything that is asked of one classifier under attack, in one order, and the verdict on it."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bnn_tasks.robustness.attacks import Attack, Attacked, MembersAttacked, WorstCase
from bnn_tasks.robustness.attacks.surrogate_sweep import OWN
from bnn_tasks.robustness.attacks.unbroken import Unbroken
from bnn_tasks.robustness.diagnostics import Sensitivity, sensitivity
from bnn_tasks.robustness.norms import get_norm
from bnn_tasks.robustness.objective import CrossEntropyObjective
from bnn_tasks.robustness.verdict import judge
from bnn_tasks.tasks.robustness.arsenal import Arsenal
from bnn_tasks.tasks.robustness.chunks import Chunks
from bnn_tasks.tasks.robustness.evidence import facts_of
from bnn_tasks.tasks.robustness.examinations import Examination
from bnn_tasks.tasks.robustness.findings import Examined, Example, Findings, Row, accuracy
from bnn_tasks.tasks.robustness.kept_results import KeptResults
from bnn_tasks.tasks.robustness.radii import check_reach, radii, radius
from bnn_tasks.tasks.robustness.rising import rising
from bnn_tasks.tasks.robustness.subject import Subject
from bnn_tasks.tasks.robustness.victims import Victim

_log = logging.getLogger(__name__)

LADDER = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)  # ε in units of 1/255: from tiny to total
WORST = "all"  # the sweep's row of the worst case
EXAMPLES = 16  # pairs for the contact sheet


class ClassifierStudy:
    """White-box, black-box and transfer attacks on one classifier, a ladder of ε, a sweep of surrogates, diagnostics.

    Every attack at ``eps`` is run on all images that are right without it, so that each has a row of its own; along the ladder
    the same attacks run on survivors alone, and an image that is lost stays lost, since it lies in every larger ball. Random
    starts are drawn a chunk at a time: the same chunk gives the same figures.

    Args:
        arsenal: the attacks, with their budget.
        eps: of the table, in units of 1/255, whatever the norm, 0.05 at least. A binary net can look robust at small ε and be
            at 0 where a real one is too, so one large ε says nothing.
        ladder: ε of the curve, rising, in the same units, 0 allowed; for L2, those longer than any perturbation are left out.
            Where none reaches the ε from which every image can be made grey, which `judge` asks for, it is added: 127.5 for
            L∞, 127.5·√(C·H·W) for L2.
        sweep: ε of the heat map, rising, as `eps`.
        step_counts: PGD's numbers of steps for the convergence curve, >= 1, rising.
        chunk: images at a time, >= 1; halved where memory runs out.
        seed: of everything random.
        examinations: further questions.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        arsenal: Arsenal | None = None,
        eps: float = 2.0,
        ladder: Sequence[float] = LADDER,
        sweep: Sequence[float] = (0.5, 1.0, 2.0, 4.0),
        step_counts: Sequence[int] = (10, 20, 50),
        chunk: int = 128,
        seed: int = 0,
        examinations: list[Examination] | None = None,
    ) -> None:
        self.arsenal = Arsenal() if arsenal is None else arsenal
        norm = self.arsenal.norm
        self.eps = radius("eps", eps, norm)
        self.ladder = [radius("ladder", step, norm) if step else 0.0 for step in rising("ladder", ladder)]
        self.sweep = radii("sweep", sweep, norm)
        self.step_counts = [int(count) for count in rising("step_counts", step_counts, 1)]
        self.chunks, self.seed = Chunks(chunk), seed
        self.examinations = list(examinations or [])

    def settings(self) -> list[Any]:
        """Everything but nets and images that the attacks' results depend on."""
        return [self.arsenal, self.eps, self.ladder, self.sweep, self.step_counts, self.chunks.size, self.seed]

    def run(
        self,
        victim: Victim,
        others: Sequence[Victim],
        images: Tensor,
        labels: Tensor,
        kept: KeptResults | None = None,
    ) -> Findings:
        """Study one victim.

        Args:
            victim: that is attacked.
            others: whose adversarial images are tried on it, the real twin first.
            images: (n, C, H, W) in [0, 1].
            labels: (n,) int64.
            kept: what attacks found in a test of the same settings, images and nets that was cut short; None keeps nothing.

        Raises:
            ValueError: images outside [0, 1], an ε that is longer than any perturbation of them, or no image is right without
                an attack.
        """
        subject = Subject(victim, images, labels, self.chunks, self.seed, kept)
        check_reach("eps", [self.eps], self.arsenal.norm, images)
        check_reach("sweep", self.sweep, self.arsenal.norm, images)
        for one in self.examinations:
            one.check(subject)
        swept = self._swept(subject)
        attacks = self._attacks(subject, others)
        found = self._table(subject, attacks, swept)
        longer = self._longer(subject)
        lost = torch.stack([one.broken for one in (*found.values(), *longer.values())]).any(0)
        rungs = self._ladder(subject, attacks, lost, swept)
        ladder = [(eps, subject.accuracy(broken)) for eps, broken in rungs]
        worst = torch.stack([lost, *(broken for eps, broken in rungs if eps <= self.eps)]).any(0)
        surrogates = {eps: _members(subject, one) for eps, one in swept.items()}
        convergence = [(count, subject.accuracy(one.broken).value) for count, one in longer.items()]
        facts = facts_of(
            subject, found, self.arsenal, self.eps, ladder, convergence, self._separate(subject, surrogates)
        )
        depth, twin = self._sensitivity(subject, others)
        return Findings(
            victim=victim.path,
            threat=self._threat(others, len(images)),
            clean=accuracy(subject.right),
            rows=_rows(subject, found),
            worst=subject.accuracy(worst),
            ladder=ladder,
            surrogates=surrogates,
            convergence=convergence,
            sensitivity=depth,
            twin_sensitivity=twin,
            facts=facts,
            verdict=judge(facts),
            examples=_examples(subject, found),
            examined=self._examine(subject, others),
        )

    def _swept(self, subject: Subject) -> dict[float, MembersAttacked]:
        """ε -> the sweep of surrogates, on all images."""
        if not (subject.binary and subject.victim.differentiable):
            return {}
        swept = {}
        for eps in self.sweep:
            found = subject.attack(self.arsenal.sweep, eps)
            assert isinstance(found, MembersAttacked)
            swept[eps] = found
        return swept

    def _table(
        self, subject: Subject, attacks: Sequence[Attack], swept: dict[float, MembersAttacked]
    ) -> dict[str, Attacked]:
        """Every attack at ε, the sweep once."""
        found: dict[str, Attacked] = {}
        for attack in attacks:
            known = attack is self.arsenal.sweep and self.eps in swept
            found[attack.name] = swept[self.eps] if known else subject.attack(attack, self.eps)
        return found

    def _attacks(self, subject: Subject, others: Sequence[Victim]) -> list[Attack]:
        sources = [other for other in others if other.differentiable]
        return self.arsenal.all(subject.classes, subject.binary, subject.victim.differentiable, sources)

    def _ladder(
        self, subject: Subject, attacks: Sequence[Attack], lost_at_eps: Tensor, swept: dict[float, MembersAttacked]
    ) -> list[tuple[float, Tensor]]:
        """(ε, what is lost, (n,)) for rising ε, by the table's attacks at every one; none is run twice on an image."""
        known = {eps: one.broken for eps, one in swept.items() if eps != self.eps} | {self.eps: lost_at_eps}
        lost, points = torch.zeros_like(lost_at_eps), []
        for eps in self._rungs(subject):
            for smaller, broken in known.items():
                if smaller <= eps:
                    lost |= broken
            alive = (~lost).nonzero()[:, 0]
            if len(alive) and eps not in (0, self.eps):
                left = [attack for attack in attacks if not (eps in swept and attack is self.arsenal.sweep)]
                lost[alive] |= subject.attack_some(WorstCase(left), eps, alive).broken
            points.append((eps, lost.clone()))
        return points

    def _rungs(self, subject: Subject) -> list[float]:
        norm = get_norm(self.arsenal.norm)
        rungs = [eps for eps in self.ladder if eps <= norm.largest(subject.images)]
        total = norm.total(subject.images)
        return rungs if rungs and rungs[-1] >= total else [*rungs, total]

    def _examine(self, subject: Subject, others: Sequence[Victim]) -> list[Examined]:
        """The answers there are; a question that fails costs its own answer, not the attacks'."""
        answers = []
        for one in self.examinations:
            try:
                answer = one.run(subject, others)
            except (ValueError, RuntimeError, OSError) as error:
                _log.error("%s is left out: %s", type(one).__name__, error)
                continue
            if answer is not None:
                answers.append(answer)
        return answers

    def _separate(self, subject: Subject, surrogates: dict[float, dict[str, float]]) -> list[tuple[float, float]]:
        """(ε, accuracy) of PGD with the net's own gradient, at every ε of the sweep by itself."""
        if surrogates or not subject.victim.differentiable:
            return [(eps, members[OWN]) for eps, members in surrogates.items()]
        attack = self.arsenal.pgd(self.arsenal.steps)
        return [(eps, subject.accuracy(subject.attack(attack, eps).broken).value) for eps in self.sweep]

    def _longer(self, subject: Subject) -> dict[int, Attacked]:
        """Steps -> PGD at ε, each on all images."""
        if not subject.victim.differentiable:
            return {}
        return {count: subject.attack(self.arsenal.pgd(count), self.eps) for count in self.step_counts}

    def _sensitivity(self, subject: Subject, others: Sequence[Victim]) -> tuple[Sensitivity | None, Sensitivity | None]:
        """Of the victim and of the first other net, each on what PGD makes through itself, climbed to its last step.

        Nets that are lost after a step would otherwise be shown smaller perturbations than those that hold out.
        """
        probed = subject.probed
        clean, labels = subject.x[probed], subject.y[probed]

        def depth(victim: Victim) -> Sensitivity | None:
            if victim.module is None:
                return None
            objective = Unbroken(CrossEntropyObjective(victim, labels))
            attack = self.arsenal.pgd(self.arsenal.steps)
            made = subject.chunks.attack(attack, objective, clean, self.eps, self.seed).images
            return sensitivity(victim.module, clean, made, torch.Generator().manual_seed(self.seed))

        twin = next((other for other in others if other.module is not None), None)
        return depth(subject.victim), None if twin is None else depth(twin)

    def _threat(self, others: Sequence[Victim], count: int) -> dict[str, Any]:
        """What was done, for whoever wants to do it again."""
        arsenal = self.arsenal
        return {
            "norm": arsenal.norm,
            "eps": self.eps,
            "images": count,
            "seed": self.seed,
            "chunk": self.chunks.size,
            "steps": arsenal.steps,
            "step_size": arsenal.step_size,
            "queries": arsenal.queries,
            "others": [other.path for other in others],
            "inputs": "RGB in [0, 1] at the net's input size; the net normalises; eval mode, float32",
        }


def _members(subject: Subject, swept: MembersAttacked) -> dict[str, float]:
    """Surrogate -> accuracy, and the worst case of all, image by image."""
    members = swept.members | {WORST: swept.broken}
    return {name: subject.accuracy(broken).value for name, broken in members.items()}


def _rows(subject: Subject, found: dict[str, Attacked]) -> list[Row]:
    rows = []
    for name, one in found.items():
        rest = [other.broken for key, other in found.items() if key != name]
        alone = one.broken & ~torch.stack(rest).any(0) if rest else one.broken
        rows.append(Row(name, subject.accuracy(one.broken), float(one.queries.float().mean()), subject.share(alone)))
    return rows


def _examples(subject: Subject, found: dict[str, Attacked]) -> list[Example]:
    """Images that the attack of most losses lost, evenly spread: sets lie class by class."""
    best = max(found.values(), key=lambda one: int(one.broken.sum()))
    lost = best.broken.nonzero()[:, 0]
    if not len(lost):
        return []
    index = lost[torch.linspace(0, len(lost) - 1, min(EXAMPLES, len(lost))).round().long()]
    with torch.no_grad():
        after = subject.victim(best.images[index]).argmax(1)
    return [
        Example(subject.x[i].cpu(), best.images[i].cpu(), int(subject.y[i]), int(label))
        for i, label in zip(index.tolist(), after.tolist())
    ]
