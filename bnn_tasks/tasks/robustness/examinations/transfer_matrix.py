"""Which net's adversarial images fool which other."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bnn_tasks.robustness.attacks import MIFGSM
from bnn_tasks.robustness.attacks.unbroken import Unbroken
from bnn_tasks.robustness.objective import CrossEntropyObjective
from bnn_tasks.tasks.robustness.examinations.base import Examination
from bnn_tasks.tasks.robustness.findings import Examined
from bnn_tasks.tasks.robustness.radii import check_reach, radius
from bnn_tasks.tasks.robustness.subject import Subject
from bnn_tasks.tasks.robustness.victims import Victim


@dataclass(frozen=True)
class TransferTable(Examined):
    """Accuracies.

    Attributes:
        eps: radius.
        sources: nets that the images were made on.
        targets: nets that were asked, the victim first.
        accuracy: a row a source, a column a target; the share of all images that the target still gets right.
        clean: of each target, without an attack.
    """

    name = "transfer"
    eps: float
    sources: list[str]
    targets: list[str]
    accuracy: list[list[float]]
    clean: list[float]

    def to_json(self) -> dict[str, Any]:
        """All figures; ε in units of 1/255."""
        return {"eps_255": 255 * self.eps, **{name: value for name, value in asdict(self).items() if name != "eps"}}


class TransferMatrix(Examination):
    """MI-FGSM to its last step on the victim and on each other net; all of them asked about all the images.

    Args:
        eps: in units of 1/255, 0.05 at least, for L∞ 255 at most.
        steps: of MI-FGSM, >= 1.
        norm: "linf" or "l2".

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, eps: float = 8.0, steps: int = 20, norm: str = "linf") -> None:
        self.eps, self.attack = radius("eps", eps, norm), MIFGSM(steps, norm=norm)

    def check(self, subject: Subject) -> None:
        """Refuse an ε that is longer than any perturbation."""
        check_reach("eps", [self.eps], self.attack.norm.name, subject.images)

    def run(self, subject: Subject, others: Sequence[Victim]) -> TransferTable | None:
        """See `Examination`; None without other nets, or where no net has gradients."""
        nets = [subject.victim, *others]
        sources = [net for net in nets if net.differentiable]
        if not others or not sources:
            return None
        rows = []
        for source in sources:
            objective = Unbroken(CrossEntropyObjective(source, subject.labels))
            made = subject.chunks.attack(self.attack, objective, subject.images, self.eps, subject.seed).images
            rows.append([subject.share_right(net, made) for net in nets])
        clean = [subject.share_right(net, subject.images) for net in nets]
        return TransferTable(self.eps, [net.path for net in sources], [net.path for net in nets], rows, clean)
