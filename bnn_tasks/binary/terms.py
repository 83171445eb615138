"""The canonical form of a quantised layer: a sum of binary convolutions.

    y[o,p] = Σ_t s_t[o] · (B_t ⊛ A_t)[o,p] + u[o]        B_t, A_t ∈ {-1, +1}

It is the contract between training and export: a layer that can state its terms runs through one XNOR kernel.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Threshold:
    """Activation operand A = +1 where x >= threshold, else -1.

    Attributes:
        threshold: (C,) float32, one a channel; None is 0 for all.
    """

    threshold: Tensor | None = None


@dataclass(frozen=True)
class Term:
    """One binary convolution s · (B ⊛ A); a linear layer is the 1×1 case.

    Attributes:
        weight: B, values ±1, shape (O, I/groups, kh, kw) or (O, I) for a linear layer.
        activation: how A follows from the layer's real input.
        scale: s, (O,) float32; None is 1.
        stride: (sy, sx), in pixels of the input.
        padding: (py, px), pixels added on each side.
        dilation: (dy, dx).
        groups: channel groups, as in torch.nn.Conv2d.
        pad_value: 0, +1 or -1: what a tap outside the image counts as; 0 adds nothing to the sum.
    """

    weight: Tensor
    activation: Threshold
    scale: Tensor | None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    pad_value: int = 0


@dataclass(frozen=True)
class Terms:
    """A whole layer: the sum of its terms and a real bias.

    Attributes:
        terms: at least one.
        bias: u, (O,) float32; None is 0.
    """

    terms: tuple[Term, ...]
    bias: Tensor | None = None
