"""How far each layer can stretch a disturbance."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from bnn_tasks.robustness.diagnostics import spectral_norms
from bnn_tasks.robustness.weight_views import EffectiveWeights, WeightView
from bnn_tasks.tasks.robustness.examinations.base import Examination
from bnn_tasks.tasks.robustness.findings import Examined
from bnn_tasks.tasks.robustness.subject import Subject
from bnn_tasks.tasks.robustness.victims import Victim


@dataclass(frozen=True)
class LayerNorms(Examined):
    """Largest singular values.

    Attributes:
        view: name of the `WeightView`.
        norms: path of a net, the victim's first -> name of a layer -> σ_1; layers in the net's order.
    """

    name = "spectral_norms"
    view: str
    norms: dict[str, dict[str, float]]

    def to_json(self) -> dict[str, Any]:
        """All figures."""
        return asdict(self)


class SpectralNorms(Examination):
    """σ_1 of every layer's matrix, of the victim and of the nets beside it.

    Defensive quantization (Lin et al., 2019) would hold it near 1, so that no layer makes noise larger. Of a binary layer it
    bounds the pre-activations alone: the sign behind it stretches without bound near 0.

    Args:
        view: which matrices: `EffectiveWeights` (None), `ScaledBinaryWeights` or `LatentWeights`.
    """

    def __init__(self, view: WeightView | None = None) -> None:
        self.view = EffectiveWeights() if view is None else view

    def run(self, subject: Subject, others: Sequence[Victim]) -> LayerNorms | None:
        """See `Examination`; None where the victim is no torch net."""
        if subject.victim.module is None:
            return None
        norms = {}
        for net in (subject.victim, *others):
            if net.module is not None:
                generator = torch.Generator().manual_seed(subject.seed)
                norms[net.path] = spectral_norms(net.module, subject.x[:1], self.view, generator)
        return LayerNorms(self.view.name, norms)
