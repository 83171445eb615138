"""The survey's naive and error-minimising methods (Qin et al., 2020, Table 1, first two classes)."""

from bnn_tasks.binary.activations import (
    RealActivation,
    ResidualPlanes,
    ShiftedBases,
    SignActivation,
    TwoPhaseSign,
    ZeroOne,
)
from bnn_tasks.binary.estimators import STE, ApproxSign, ClippedSTE
from bnn_tasks.binary.methods.method import Method
from bnn_tasks.binary.scales import (
    ChannelPlaceScale,
    FullScale,
    OutputScale,
    QuantizedGradient,
    SeparableScale,
    WindowMean,
)
from bnn_tasks.binary.weights import (
    AnalyticScale,
    BitwiseWeight,
    LayerScale,
    LearnedScale,
    LeastSquaresBases,
    SignWeight,
    StochasticSign,
)


def abc_net(weight_bases: int = 3, activation_bases: int = 3) -> Method:
    """ABC-Net with M weight and N activation bases.

    Args:
        weight_bases: M >= 1.
        activation_bases: N >= 1.
    """
    return Method(
        name="abc_net",
        weight=lambda shape: LeastSquaresBases(weight_bases),
        activation=lambda shape: ShiftedBases(activation_bases),
        paper=f"Lin et al., ABC-Net, 2017 (M = {weight_bases}, N = {activation_bases})",
        optimizer="SGD",
    )


def horq(order: int = 2) -> Method:
    """HORQ of order K.

    Args:
        order: K >= 1.
    """
    return Method(
        name="horq",
        weight=lambda shape: AnalyticScale(ClippedSTE()),
        activation=lambda shape: ResidualPlanes(order),
        paper=f"Li et al., HORQ, 2017 (order {order})",
        optimizer="Adam",
    )


def dorefa(gradient_bits: int | None = None) -> Method:
    """DoReFa-Net with 1-bit weights and activations.

    Args:
        gradient_bits: bits of the stochastically quantised gradient, in [1, 16]; None leaves it real.
    """
    return Method(
        name="dorefa" if gradient_bits is None else f"dorefa_1_1_{gradient_bits}",
        weight=lambda shape: LayerScale(),
        activation=lambda shape: ZeroOne(),
        output=lambda shape: OutputScale() if gradient_bits is None else QuantizedGradient(gradient_bits),
        paper=f"Zhou et al., DoReFa-Net, 2016 (bits of W, A, G: 1, 1, {gradient_bits or 32})",
        optimizer="Adam",
    )


def bitwise(sparsity: float = 0.0) -> Method:
    """Bitwise neural network; phase 2 begins at half of the training.

    Args:
        sparsity: λ, the share of weights that are 0 in phase 2, in [0, 1).
    """
    return Method(
        name="bitwise",
        weight=lambda shape: BitwiseWeight(sparsity),
        activation=lambda shape: TwoPhaseSign(),
        paper=f"Kim & Smaragdis, Bitwise Neural Networks, 2016 (λ = {sparsity})",
    )


def _xnor_pp(name: str, case: int, output: type[FullScale] | type[ChannelPlaceScale] | type[SeparableScale]) -> Method:
    return Method(
        name=name,
        # A linear layer has one place, where all cases are case 1.
        weight=lambda shape: (
            LearnedScale(shape.out_channels, ClippedSTE()) if shape.linear else SignWeight(ClippedSTE())
        ),
        activation=lambda shape: SignActivation(ClippedSTE()),
        output=lambda shape: OutputScale() if shape.linear else output(shape.out_channels),
        paper=f"Bulat & Tzimiropoulos, XNOR-Net++, 2019 (case {case})",
        optimizer="Adam",
    )


METHODS = (
    Method(
        name="binary_connect",
        weight=lambda shape: SignWeight(STE(), clip=1.0),
        activation=lambda shape: RealActivation(),
        paper="Courbariaux et al., BinaryConnect, 2015 (deterministic)",
        optimizer="Adam",
    ),
    Method(
        name="binary_connect_stochastic",
        weight=lambda shape: StochasticSign(),
        activation=lambda shape: RealActivation(),
        paper="Courbariaux et al., BinaryConnect, 2015 (stochastic; evaluated with sign(W), not with the real W)",
        optimizer="Adam",
    ),
    bitwise(),
    Method(
        name="bnn",
        weight=lambda shape: SignWeight(ClippedSTE(), clip=1.0),
        activation=lambda shape: SignActivation(ClippedSTE()),
        paper="Courbariaux et al., Binarized Neural Networks, 2016",
        optimizer="AdaMax",
    ),
    Method(
        name="bwn",
        weight=lambda shape: AnalyticScale(ClippedSTE()),
        activation=lambda shape: RealActivation(),
        paper="Rastegari et al., XNOR-Net, 2016 (binary weight network)",
        optimizer="SGD",
    ),
    Method(
        name="xnor",
        weight=lambda shape: AnalyticScale(ClippedSTE()),
        activation=lambda shape: SignActivation(ClippedSTE()),
        paper="Rastegari et al., XNOR-Net, 2016 (without the K map, which the paper itself drops at < 1 %)",
        structure=("RB", "RP"),
        optimizer="Adam",
    ),
    Method(
        name="xnor_k",
        weight=lambda shape: AnalyticScale(ClippedSTE()),
        activation=lambda shape: SignActivation(ClippedSTE()),
        output=lambda shape: WindowMean(),
        paper="Rastegari et al., XNOR-Net, 2016 (with the K map)",
        structure=("RB", "RP"),
        optimizer="Adam",
    ),
    dorefa(),
    dorefa(8),
    horq(),
    abc_net(),
    Method(
        name="xnor_pp",
        weight=lambda shape: LearnedScale(shape.out_channels, ClippedSTE()),
        activation=lambda shape: SignActivation(ClippedSTE()),
        paper="Bulat & Tzimiropoulos, XNOR-Net++, 2019 (case 1)",
        optimizer="Adam",
    ),
    _xnor_pp("xnor_pp_full", 2, FullScale),
    _xnor_pp("xnor_pp_place", 3, ChannelPlaceScale),
    _xnor_pp("xnor_pp_separable", 4, SeparableScale),
    Method(
        name="bbg",
        weight=lambda shape: AnalyticScale(ClippedSTE(), centred=True),
        activation=lambda shape: SignActivation(ClippedSTE()),
        paper="Shen et al., Balanced Binary Neural Networks with Gated Residual, 2020 (form reconstructed)",
        structure=("SC",),
    ),
    Method(
        name="group_net",
        weight=lambda shape: LayerScale(),
        activation=lambda shape: SignActivation(ApproxSign()),
        paper="Zhuang et al., Structured Binary Neural Networks (GroupNet), 2019 (one branch)",
        structure=("SC",),
        gradient=True,
        in_survey=False,
    ),
)
