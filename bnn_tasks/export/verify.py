"""Prove that an artifact computes what the module computes, bit by bit.

The module is run with the *runtime's* planes forced into every binary layer. Then torch and runtime see the same bits
everywhere, so their real values differ by rounding alone, and where a sign still differs the value must be a tie:
abs(x - threshold) <= 1e-5 · std(x), for a patch's residual abs(R) in the place of that distance. Accumulators have no
excuse: they must be identical, term by term.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bnn_tasks.binary import (
    BinaryConv2d,
    BinaryLinear,
    Geometry,
    Real,
    Residual,
    Term,
    Terms,
    Threshold,
    evaluate,
    sign,
)
from bnn_tasks.binary.terms import Operand, residual_planes
from bnn_tasks.export.builder import ParityError
from bnn_tasks.export.class_maps import check_class_map
from bnn_tasks.export.regions import check_second_stage
from bnn_tasks.export.rounding import output_error, spread
from bnn_tasks.export.stage import SignSite
from bnn_tasks.export.trace import GraphWriter
from bnn_tasks.models import FasterRCNN, Segmenter
from bnn_tasks.runtime import Session

TIE = 1e-5  # of the standard deviation of the layer's input


@dataclass(frozen=True)
class Parity:
    """What the comparison found.

    Attributes:
        images: how many were compared.
        bits: activation bits compared.
        ties: bits that differ, every one a rounding tie.
        accumulators: integer sums compared; all were identical.
        output_error: largest abs(torch - runtime) of the raw outputs, given the same bits, over their standard deviation.
        pixels: of class maps, compared.
        pixel_ties: those whose class differs; the two classes score alike in every one.
    """

    images: int
    bits: int
    ties: int
    accumulators: int
    output_error: float
    pixels: int = 0
    pixel_ties: int = 0


def _flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in _flat(value[key])]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in _flat(item)]
    return [value]


def _signed(terms: Terms, operand: Threshold | Residual, x: Tensor, given: dict[int, Tensor]) -> tuple[Tensor, Tensor]:
    """The value whose sign an operand takes, and 1 where it takes one (0 at a zero-padded tap of a patch).

    A residual is what the runtime's planes before it leave.
    """
    if isinstance(operand, Threshold):
        theta = operand.threshold
        return (x if theta is None else x - theta.view(-1, *[1] * (x.dim() - 2))), torch.ones_like(x)
    residual, inside = terms.geometry.patches(x), terms.geometry.inside(x)
    before = [given[id(o)] for o in terms.operands() if isinstance(o, Residual) and o.index < operand.index]
    planes = residual_planes(residual, inside, operand.index, before)
    for beta, signs in zip(planes[::2], planes[1::2], strict=True):
        residual = residual - beta * signs
    return residual, inside.expand_as(residual)


class Forcing:
    """Hooks that put the runtime's planes into a module's binary layers and compare as they go.

    Attributes:
        bits: activation bits compared so far.
        ties: those that differ, every one a rounding tie.
        accumulators: integer sums compared so far.
    """

    def __init__(self, module: nn.Module, sites: list[SignSite], session: Session) -> None:
        self.session = session
        self.queues: dict[str, list[SignSite]] = defaultdict(list)
        for site in sites:
            self.queues[site.layer].append(site)
        self.values: dict[str, np.ndarray] = {}
        self.calls: dict[str, int] = {}
        self.bits = self.ties = self.accumulators = 0
        self.handles = []
        for name in self.queues:
            layer = module.get_submodule(name)
            assert isinstance(layer, BinaryConv2d | BinaryLinear)
            self.handles.append(layer.register_forward_hook(self._hook(name, layer.terms()), with_kwargs=True))

    def start(self, values: dict[str, np.ndarray]) -> None:
        """Set the values of the next image, from ``Session.values``."""
        self.values, self.calls = values, dict.fromkeys(self.queues, 0)

    def _hook(self, name: str, terms: Terms) -> Any:
        def force(module: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor) -> Tensor:
            site = self.queues[name][self.calls[name]]
            self.calls[name] += 1
            (x,) = (*inputs, *named.values())
            given: dict[int, Tensor] = {}
            for operand, value in zip(terms.operands(), site.planes, strict=True):
                if not isinstance(operand, Real):
                    plane = torch.from_numpy(self.values[value].astype(np.float32))[None]
                    if isinstance(operand, Residual):
                        plane = plane.view(1, terms.geometry.groups, -1, *plane.shape[2:])
                    self._compare_plane(name, terms, operand, x, plane, given)
                    given[id(operand)] = plane
            for term, node in zip(terms.terms, site.nodes, strict=True):
                if id(term.activation) in given:
                    self._compare_accumulators(terms.geometry, term, node, given[id(term.activation)])
            return evaluate(terms, x, given)

        return force

    def _compare_plane(
        self, name: str, terms: Terms, operand: Operand, x: Tensor, plane: Tensor, given: dict[int, Tensor]
    ) -> None:
        if not isinstance(operand, Threshold | Residual):
            if not bool((plane == 1).all()):
                raise ParityError(f"Expected the constant plane before {name!r} to be +1 everywhere, but it is not.")
            return
        value, inside = _signed(terms, operand, x, given)
        if not torch.equal(plane != 0, inside != 0):
            raise ParityError(
                f"Expected the patches before {name!r} to have signs at the image's taps, but they differ."
            )
        different = plane != sign(value) * inside
        margin = value.abs()[different]
        limit = TIE * spread(x)
        if margin.numel() and not float(margin.max()) <= limit:
            raise ParityError(
                f"Expected the runtime's signs before {name!r} to be torch's except at rounding ties, but one differs at "
                f"a distance of {float(margin.max()):.3g} from its threshold (a tie is at most {limit:.3g})."
            )
        self.bits += int(inside.count_nonzero())
        self.ties += int(different.sum())

    def _compare_accumulators(self, geometry: Geometry, term: Term, node: str, plane: Tensor) -> None:
        weight = term.weight.float()
        signs = plane[0]
        if isinstance(term.activation, Residual):
            expected, signs = geometry.patch_product(plane, weight).flatten(1, 2), signs.flatten(0, 1)
        else:
            expected = replace(geometry, pad_value=term.pad_value).product(plane, weight)
        found = self.session.accumulate(node, signs.numpy().astype(np.int8))
        if not np.array_equal(found, expected[0].numpy().astype(np.int32)):
            raise ParityError(f"Expected the accumulators of {node!r} to be torch's integers, but they differ.")
        self.accumulators += found.size


@contextmanager
def forced(module: nn.Module, session: Session, sites: list[SignSite]) -> Iterator[Forcing]:
    """While open, `module` computes with the runtime's planes; call ``start`` before each image.

    Args:
        module: in eval mode, float32, on the CPU; called on one image at a time.
        session: the artifact, loaded.
        sites: where the artifact's planes are, from `GraphWriter`.
    """
    forcing = Forcing(module, sites, session)
    try:
        yield forcing
    finally:
        for handle in forcing.handles:
            handle.remove()


@torch.no_grad()
def verify(module: nn.Module, session: Session, written: GraphWriter, images: Tensor) -> Parity:
    """Compare a module with its artifact.

    A detector's second stage is compared on the regions that the runtime chose, after it is proved that they could be chosen.

    Args:
        module: in eval mode, float32, on the CPU.
        session: the artifact, loaded.
        written: where the artifact's values are.
        images: (N, C, H, W) float32.

    Returns:
        The counts; it returns only if the artifact is right.

    Raises:
        ParityError: a bit differs that is no tie, an accumulator differs, or the raw outputs, proposals or classes do.
    """
    error, pixels, pixel_ties = 0.0, 0, 0
    with forced(module, session, written.sites) as forcing:
        for image in images:
            values = session.values(image.numpy())
            forcing.start(values)
            expected, found = module(image[None]), session.forward(image[None].numpy())
            if isinstance(module, FasterRCNN):
                size = (image.shape[1], image.shape[2])
                error = max(error, check_second_stage(module, expected, values, written.names, size))
                expected, found = (
                    {name: maps for name, maps in outputs.items() if name != "proposals"}
                    for outputs in (expected, found)
                )
            for want, got in zip(_flat(expected), _flat(found), strict=True):
                error = max(error, output_error(want, torch.from_numpy(got)))
            if isinstance(module, Segmenter):
                class_map = values[written.names["classes"]]
                if not np.array_equal(session.class_map(image.numpy()), class_map):
                    raise ParityError("Expected the runtime's classes to be the argmax of its scores, but they differ.")
                compared, different = check_class_map(module, expected, torch.from_numpy(found), class_map)
                pixels, pixel_ties = pixels + compared, pixel_ties + different
    return Parity(len(images), forcing.bits, forcing.ties, forcing.accumulators, error, pixels, pixel_ties)
