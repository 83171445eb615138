"""What a binarisation method is, and how the survey's Table 1 files it."""

from collections.abc import Callable
from dataclasses import dataclass

from bnn_tasks.binary.activations import ActivationBinarizer, RealActivation
from bnn_tasks.binary.geometry import LayerShape
from bnn_tasks.binary.scales import OutputScale, SpatialScale
from bnn_tasks.binary.weights import WeightBinarizer


def _no_scale(shape: LayerShape) -> OutputScale:
    return OutputScale()


@dataclass(frozen=True)
class Method:
    """What makes a layer binary, and how the survey's Table 1 files it.

    Attributes:
        name: the key in the registry.
        weight: the layer's shape -> weight binariser.
        activation: the layer's shape -> activation binariser.
        paper: authors, title, year; and what here is not the paper's.
        output: the layer's shape -> what else multiplies its sums.
        structure: structure transformations: RB reorder BatchNorm, RP reorder pooling, WD widen, SC shortcut.
        optimizer: the paper's optimiser, as Table 1 has it; empty where it has none.
        asymptotic: whether Table 1 files the method under asymptotic quantisation.
        gradient: whether the sign's gradient is approximated by something better than the clipped STE.
        in_survey: whether Table 1 has a row for it; later methods do not.
    """

    name: str
    weight: Callable[[LayerShape], WeightBinarizer]
    activation: Callable[[LayerShape], ActivationBinarizer]
    paper: str
    output: Callable[[LayerShape], OutputScale] = _no_scale
    structure: tuple[str, ...] = ()
    optimizer: str = ""
    asymptotic: bool = False
    gradient: bool = False
    in_survey: bool = True

    @property
    def binary_activations(self) -> bool:
        """Whether activations are binary too; BinaryConnect and BWN leave them real."""
        return not isinstance(self.activation(_SMALLEST), RealActivation)

    @property
    def tells_positives_apart(self) -> bool:
        """Whether its layers may follow what is never negative: real activations, and DoReFa-Net's threshold of 0.5."""
        return self.activation(_SMALLEST).tells_positives_apart

    @property
    def spatially_tied(self) -> bool:
        """Whether its layers work at one size of input only (XNOR-Net++, cases 2 to 4)."""
        return isinstance(self.output(_SMALLEST), SpatialScale)


_SMALLEST = LayerShape(4, 1, (3, 3))
