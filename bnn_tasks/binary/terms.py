"""The canonical form of a quantised layer: a sum of binary convolutions.

    y[o,p] = Σ_t s_t[o,n,p] · (B_t ⊛ A_t)[o,p] + u[o]        B_t, A_t ∈ {-1, +1}; B_0 = 1 and A_0 = 1 are allowed

It is the contract between training and export: a layer that can state its terms runs through one XNOR kernel. A term is
a statement without an input: A and s are rules, which ``evaluate`` and the runtime apply to the layer's real input.
Every operand, constants included, is 0 outside a zero-padded image. Outside one padded with ±1 a plane of signs has that bit,
and A_0 stays 1, so that an activation of several planes has one of its own levels there.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bnn_tasks.binary.estimators import sign
from bnn_tasks.binary.geometry import Geometry


@dataclass(frozen=True)
class Threshold:
    """A = +1 where x >= threshold, else -1.

    Attributes:
        threshold: (C,) float32, one a channel; None is 0 for all.
    """

    threshold: Tensor | None = None

    def plane(self, x: Tensor) -> Tensor:
        """A of `x`, (N, C, ...)."""
        if self.threshold is None:
            return sign(x)
        return sign(x - self.threshold.to(x).view(-1, *[1] * (x.dim() - 2)))


@dataclass(frozen=True)
class Ones:
    """A_0 = 1 everywhere in the image: what a {0, 1} or a shifted activation adds."""

    def plane(self, x: Tensor) -> Tensor:
        """Ones like `x`."""
        return torch.ones_like(x)


@dataclass(frozen=True)
class Real:
    """A = x, a real activation: only the weight is binary, sums are floats."""

    def plane(self, x: Tensor) -> Tensor:
        """`x` itself."""
        return x


@dataclass(frozen=True)
class Residual:
    """A = sign of the residual that the first `index` planes of a patch leave, and β, its mean magnitude, as scale.

    R_0 = patch; H_i = sign(R_i), β_i = ‖R_i‖₁/n, R_{i+1} = R_i - β_i·H_i (Li et al., HORQ, 2017). Defined per patch, so it has
    no plane over the image.

    Attributes:
        index: i >= 0.
    """

    index: int


Operand = Threshold | Ones | Real | Residual


@dataclass(frozen=True)
class Term:
    """One binary convolution s · (B ⊛ A); a linear layer is the 1×1 case.

    Attributes:
        weight: B, int8 ±1, shape (O, I/groups, kh, kw) or (O, I) for a linear layer.
        activation: how A follows from the layer's real input.
        scale: s, float32 (O,), or (O, H', W') where the layer is tied to one size of input; None is 1.
        stride: (sy, sx), in pixels of the input.
        padding: (py, px), pixels added on each side.
        dilation: (dy, dx).
        groups: channel groups, as in torch.nn.Conv2d.
        pad_value: 0, +1 or -1: what a tap outside the image counts as; 0 adds nothing to the sum. Of A_0 it is 0 or 1.
        window_mean: whether s is multiplied by K[p], the mean magnitude of the taps under the window (XNOR-Net, 2016, §3.2).
    """

    weight: Tensor
    activation: Operand
    scale: Tensor | None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    pad_value: int = 0
    window_mean: bool = False


@dataclass(frozen=True)
class Terms:
    """A whole layer: the sum of its terms and a real bias.

    Attributes:
        terms: at least one.
        bias: u, (O,) float32; None is 0.
        geometry: of every term, but for A_0's `pad_value`.
    """

    terms: tuple[Term, ...]
    bias: Tensor | None
    geometry: Geometry

    def operands(self) -> list[Operand]:
        """The different activations of the terms, in the order of first use."""
        return list({id(term.activation): term.activation for term in self.terms}.values())


def residual_planes(patches: Tensor, inside: Tensor, order: int, given: list[Tensor] | None = None) -> list[Tensor]:
    """β_i and H_i of every patch, i < order, as `Residual` defines them, interleaved: [β_0, H_0, β_1, H_1, …].

    Args:
        patches: R_0, (N, G, n, ...).
        inside: 1 where a tap counts, broadcastable to `patches`; H is 0 elsewhere.
        order: how many.
        given: H to use instead of the signs of the residuals.
    """
    planes = []
    residual = patches
    for index in range(order):
        signs = (sign(residual) if given is None else given[index]) * inside
        beta = residual.abs().mean(dim=2, keepdim=True)
        planes += [beta, signs]
        residual = residual - beta * signs
    return planes


def evaluate(terms: Terms, x: Tensor, given: dict[int, Tensor] | None = None) -> Tensor:
    """The layer's output, straight from its terms; sums of ±1 are exact integers in float32.

    Args:
        terms: of the layer.
        x: the layer's real input, (N, C, H, W) or (N, C).
        given: ``id`` of an operand -> plane to use instead of its own: (N, C, ...), for a `Residual` (N, G, n, ...).

    Returns:
        (N, O, H', W') or (N, O), of the dtype of `x`.

    Raises:
        ValueError: a scale is tied to another size of output.
    """
    given = given or {}
    geometry = terms.geometry
    residuals = [operand for operand in terms.operands() if isinstance(operand, Residual)]
    patch_planes: list[Tensor] = []
    if residuals:
        forced = [given[id(operand)] for operand in residuals] if id(residuals[0]) in given else None
        patch_planes = residual_planes(geometry.patches(x), geometry.inside(x), len(residuals), forced)
    means = geometry.window_mean(x.abs()) if any(term.window_mean for term in terms.terms) else None
    total: Tensor | None = None
    for term in terms.terms:
        weight = term.weight.to(x.dtype)
        if isinstance(term.activation, Residual):
            beta, signs = patch_planes[2 * term.activation.index : 2 * term.activation.index + 2]
            y = (geometry.patch_product(signs, weight) * beta).flatten(1, 2)
        else:
            own = given.get(id(term.activation))
            plane = term.activation.plane(x) if own is None else own
            y = replace(geometry, pad_value=term.pad_value).product(plane, weight)
        if means is not None and term.window_mean:
            y = y * means.repeat_interleave(y.shape[1] // means.shape[1], dim=1)
        if term.scale is not None:
            scale = term.scale.to(y.device)
            if scale.dim() == 3:
                check_tied(y, scale)
            y = y * (scale if scale.dim() == 3 else scale.view(-1, *[1] * (y.dim() - 2)))
        total = y if total is None else total + y
    assert total is not None
    if terms.bias is not None:
        total = total + terms.bias.to(total.device).view(-1, *[1] * (total.dim() - 2))
    return total.to(x.dtype)


def check_tied(y: Tensor, scale: Tensor) -> None:
    """Raise ValueError if a spatial scale belongs to another size of output; it might broadcast to a wrong one.

    Args:
        y: sums, (N, O, H', W').
        scale: (O, H', W').
    """
    if y.shape[2:] != scale.shape[1:]:
        raise ValueError(
            f"Expected an output of {tuple(scale.shape[1:])} pixels, to which XNOR-Net++'s spatial scales are tied, but got "
            f"{tuple(y.shape[2:])}. Cure: tie the net to the size of its images (`input_size` of a classifier, else "
            "tie_to_size), or method 'xnor_pp'."
        )
