"""Named binarisation methods: the survey's Table 1 as data (Qin et al., Binary Neural Networks: A Survey, 2020)."""

from collections.abc import Callable
from dataclasses import dataclass

from bnn_tasks.binary.activations import ActivationBinarizer, RSign, SignActivation
from bnn_tasks.binary.estimators import ApproxSign, ClippedSTE
from bnn_tasks.binary.weights import AnalyticScale, MagnitudeAware, SignWeight, WeightBinarizer


@dataclass(frozen=True)
class Method:
    """What makes a layer binary, and how the survey's Table 1 files it.

    Attributes:
        name: the key in the registry.
        weight: output channels -> weight binariser.
        activation: input channels -> activation binariser.
        paper: authors, title, year.
        structure: structure transformations: RB reorder BatchNorm, RP reorder pooling, WD widen, SC shortcut.
        optimizer: the paper's optimiser.
        asymptotic: whether quantisation sharpens during training.
        gradient: whether the sign's gradient is approximated by something better than the clipped STE.
        in_survey: whether Table 1 has a row for it; later methods do not.
    """

    name: str
    weight: Callable[[int], WeightBinarizer]
    activation: Callable[[int], ActivationBinarizer]
    paper: str
    structure: tuple[str, ...] = ()
    optimizer: str = ""
    asymptotic: bool = False
    gradient: bool = False
    in_survey: bool = True


_METHODS = {
    method.name: method
    for method in (
        Method(
            name="bnn",
            weight=lambda out_channels: SignWeight(ClippedSTE()),
            activation=lambda in_channels: SignActivation(ClippedSTE()),
            paper="Courbariaux et al., Binarized Neural Networks, 2016",
            optimizer="AdaMax",
        ),
        Method(
            name="xnor",
            weight=lambda out_channels: AnalyticScale(ClippedSTE()),
            activation=lambda in_channels: SignActivation(ClippedSTE()),
            paper="Rastegari et al., XNOR-Net, 2016 (without the K map, which the paper itself drops at < 1 %)",
            structure=("RB", "RP"),
            optimizer="Adam",
        ),
        Method(
            name="bireal",
            weight=lambda out_channels: MagnitudeAware(ClippedSTE()),
            activation=lambda in_channels: SignActivation(ApproxSign()),
            paper="Liu et al., Bi-Real Net, 2018",
            structure=("SC",),
            optimizer="SGD",
            gradient=True,
        ),
        Method(
            name="react",
            weight=lambda out_channels: MagnitudeAware(ClippedSTE()),
            activation=lambda in_channels: RSign(in_channels, ApproxSign()),
            paper="Liu et al., ReActNet, 2020",
            structure=("SC",),
            optimizer="Adam",
            gradient=True,
            in_survey=False,
        ),
    )
}


def list_methods() -> list[str]:
    """Names of all registered methods, sorted."""
    return sorted(_METHODS)


def get_method(method: str | Method) -> Method:
    """Look a method up.

    Args:
        method: a registered name, or a `Method` of your own, which is returned as it is.

    Raises:
        ValueError: the name is not registered; the message lists those that are.
    """
    if isinstance(method, Method):
        return method
    if method not in _METHODS:
        raise ValueError(f"Expected `method` to be one of {list_methods()}, but got {method!r}.")
    return _METHODS[method]
