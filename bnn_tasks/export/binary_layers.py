"""How a binary layer becomes runtime nodes: its planes, then one node a term, each added to the sum of those before."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, ones

from bnn_tasks.binary import BinaryConv2d, BinaryLinear, Geometry, Ones, Real, Residual, Term, Terms, Threshold
from bnn_tasks.binary.terms import Operand
from bnn_tasks.export.builder import GraphBuilder
from bnn_tasks.export.fold import FoldedSign

BinaryLayer = BinaryConv2d | BinaryLinear


@dataclass(frozen=True)
class Plane:
    """An operand's values in the graph.

    Attributes:
        value: of the packed signs; of a real operand, the layer's real input.
        beta: of the scale that a residual brings along; None is 1.
    """

    value: str
    beta: str | None = None


def pack_weight(weight: Tensor) -> np.ndarray:
    """±1 weights, (O, ...), as rows of bits: uint8 (O, ⌈n/8⌉), row-major, least significant bit first, 1 is +1."""
    return np.packbits((weight.flatten(1) > 0).numpy(), axis=1, bitorder="little")


def _windows(geometry: Geometry) -> dict[str, Any]:
    return {
        "kernel": list(geometry.kernel),
        "stride": list(geometry.stride),
        "padding": list(geometry.padding),
        "dilation": list(geometry.dilation),
        "groups": geometry.groups,
        "pad_value": geometry.pad_value,
    }


def _operation(layer: BinaryLayer, term: Term) -> tuple[str, dict[str, Any]]:
    """The runtime's operation for a term, and its attributes."""
    real = isinstance(term.activation, Real)
    if isinstance(layer, BinaryLinear):
        return "binary_weight_linear" if real else "binary_linear", {"features": layer.in_features}
    if isinstance(term.activation, Residual):
        kh, kw = layer.kernel_size
        return "binary_patches", {"channels": layer.in_channels * kh * kw, "groups": term.groups}
    geometry = Geometry(layer.kernel_size, term.stride, term.padding, term.dilation, term.groups, term.pad_value)
    attrs = {"channels": layer.in_channels, **_windows(geometry)}
    return "binary_weight_conv2d" if real else "binary_conv2d", attrs


class BinaryWriter:
    """Writes binary layers. What several of them read of one value (signs, means) is written once.

    Args:
        builder: takes the nodes.
    """

    def __init__(self, builder: GraphBuilder) -> None:
        self.builder = builder
        self._made: dict[tuple[Any, ...], Plane] = {}

    def _once(self, key: tuple[Any, ...], make: Callable[[], Plane]) -> Plane:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def planes(self, name: str, terms: Terms, x: str) -> list[Plane]:
        """The values of a layer's operands, in the order of ``Terms.operands``.

        Args:
            name: of the layer.
            terms: of the layer.
            x: its real input.
        """
        return [self._plane(name, terms.geometry, operand, x) for operand in terms.operands()]

    def _plane(self, name: str, geometry: Geometry, operand: Operand, x: str) -> Plane:
        groups = {"groups": geometry.groups}
        match operand:
            case Real():
                return Plane(x)
            case Ones():
                return self._once(
                    (x, "ones", geometry.groups), lambda: Plane(self.builder.add("ones", f"{name}.ones", [x], groups))
                )
            case Residual(index):
                attrs = {**_windows(geometry), "index": index}
                node = f"{name}.residual{index}"
                return self._once(
                    (x, index, geometry),
                    lambda: Plane(*self.builder.add_several("residual_sign", node, [x], ("signs", "beta"), attrs)),
                )
            case Threshold(threshold):
                values = None if threshold is None else tuple(threshold.tolist())
                return self._once(
                    (x, values, geometry.groups),
                    lambda: Plane(self.builder.add("sign", f"{name}.sign", [x], groups, {"threshold": threshold})),
                )

    def _window_mean(self, name: str, geometry: Geometry, x: str) -> str:
        plane = self._once(
            (x, "mean", geometry),
            lambda: Plane(self.builder.add("window_mean", f"{name}.mean", [x], _windows(geometry))),
        )
        return plane.value

    def layer(self, name: str, layer: BinaryLayer, terms: Terms, planes: list[Plane], x: str) -> tuple[str, list[str]]:
        """A layer with real output.

        Args:
            name: of the layer.
            layer: the layer.
            terms: of the layer.
            planes: of its operands.
            x: its real input, which is read only where a scale follows from it.

        Returns:
            The output's value, and the node of every term's sums.
        """
        by_operand = dict(zip(map(id, terms.operands()), planes, strict=True))
        weights = self._weights(name, terms)
        total: str | None = None
        nodes = []
        for index, term in enumerate(terms.terms):
            part = name if len(terms.terms) == 1 else f"{name}.term{index}"
            plane = by_operand[id(term.activation)]
            last = index == len(terms.terms) - 1
            factors = [plane.beta] if plane.beta is not None else []
            if term.window_mean:
                factors.append(self._window_mean(name, terms.geometry, x))
            spatial = term.scale is not None and term.scale.dim() == 3
            fused = not factors and not spatial
            op, attrs = _operation(layer, term)
            bias = terms.bias if last else None
            tensors = {
                "weight": weights[id(term.weight)],
                "scale": None if spatial else term.scale,
                "bias": bias if fused else None,
            }
            sums = [total] if fused and total is not None else []
            y = self.builder.add(op, part, [plane.value, *sums], attrs, tensors)
            nodes.append(self.builder.nodes[-1].name)
            if not fused:
                y = self._scaled(part, y, factors, term.scale if spatial else None, bias)
                y = y if total is None else self.builder.add("add", f"{part}.sum", [total, y])
            total = y
        assert total is not None
        return total, nodes

    def _weights(self, name: str, terms: Terms) -> dict[int, str]:
        """``id`` of a basis -> its packed tensor: several planes share a basis, which is stored once."""
        bases = {id(term.weight): term.weight for term in terms.terms}
        return {
            key: self.builder.tensor(
                f"{name}.weight" if len(bases) == 1 else f"{name}.basis{index}", pack_weight(basis)
            )
            for index, (key, basis) in enumerate(bases.items())
        }

    def _scaled(self, name: str, y: str, factors: list[str], scale: Tensor | None, bias: Tensor | None) -> str:
        """A term's sums times what no epilogue can do: maps that follow from the input, scales of every place."""
        for factor in factors:
            y = self.builder.add("multiply", f"{name}.scaled", [y, factor])
        if scale is not None:
            y = self.builder.add("scale_map", f"{name}.placed", [y], {}, {"scale": scale})
        if bias is not None:
            y = self.builder.add("scale_shift", f"{name}.biased", [y], {}, {"scale": ones(len(bias)), "shift": bias})
        return y

    def folded(
        self, name: str, layer: BinaryLayer, terms: Terms, bits: Plane, folded: FoldedSign, out_groups: int
    ) -> tuple[str, list[str]]:
        """A layer of one term whose accumulators become bits at once.

        Args:
            name: of the layer.
            layer: the layer.
            terms: of the layer.
            bits: its packed input.
            folded: the thresholds on its accumulators.
            out_groups: of the layer that reads the bits.

        Returns:
            As `layer`.
        """
        (term,) = terms.terms
        op, attrs = _operation(layer, term)
        if isinstance(layer, BinaryConv2d):
            attrs["out_groups"] = out_groups
        tensors = {"weight": pack_weight(term.weight), "threshold": folded.threshold, "flip": folded.flip}
        value = self.builder.add(op, name, [bits.value], attrs, tensors)
        return value, [value]
