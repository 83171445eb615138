"""Which layers are really binary, and what each costs: parameters, operations, bytes.

OPs = FLOPs + BOPs / 64, with one operation a multiply-accumulate (Liu et al., Bi-Real Net, 2018). Only a layer whose
weights *and* activations have 1 bit counts BOPs: one for every output value, tap and term of its canonical form, constant
terms included, since the runtime computes them all alike. With real activations the same count is FLOPs. What is done
once for a value of a map (BatchNorm, scales, sums, pooling, XNOR-Net's means of windows) counts nothing, as in the paper.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bnn_tasks.binary.layers import BinaryConv2d, BinaryLinear
from bnn_tasks.binary.terms import Real, Threshold
from bnn_tasks.binary.weights import RealWeight

BOPS_PER_FLOP = 64


@dataclass(frozen=True)
class LayerProfile:
    """One layer that owns parameters.

    Attributes:
        name: its path in the module.
        kind: its class.
        binary_params: 1-bit parameters: the latent weight's elements, times the bases that they make (ABC-Net's M).
        real_params: 32-bit parameters; of a binary layer what inference needs: bias, thresholds, a scale for every output and
            term, be they learned or computed from the latent weight.
        bops: binary multiply-accumulates of one image.
        flops: real multiply-accumulates of one image.
    """

    name: str
    kind: str
    binary_params: int
    real_params: int
    bops: int
    flops: int

    @property
    def bytes(self) -> int:
        """Packed size: an eighth of a byte a binary parameter, four bytes a real one."""
        return (self.binary_params + 7) // 8 + 4 * self.real_params


@torch.no_grad()
def profile(module: nn.Module, example: Tensor, run: Callable[[Tensor], object] | None = None) -> list[LayerProfile]:
    """Run `module` once and list every layer that owns parameters, in the order of first use.

    A layer used several times (a head shared by the levels of a pyramid) is one row with its summed operations. The parts of a
    binary layer (thresholds, scales) belong to its row.

    Args:
        module: any module that takes one tensor.
        example: its input, (1, ...); only the size counts.
        run: takes the place of ``module(example)`` where that is not the whole: a detector decodes too.
    """
    outputs: dict[str, int] = {}
    names = {id(m): name for name, m in reversed(list(module.named_modules()))}
    parts = {
        id(p) for m in module.modules() if isinstance(m, BinaryConv2d | BinaryLinear) for p in list(m.modules())[1:]
    }
    owners = [m for m in module.modules() if id(m) not in parts and any(True for _ in m.parameters(recurse=False))]

    def record(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        name = names[id(layer)]
        multiplies = isinstance(layer, nn.Conv2d | nn.Linear | BinaryConv2d | BinaryLinear)
        outputs[name] = outputs.get(name, 0) + (output[0].numel() if multiplies else 0)

    hooks = [layer.register_forward_hook(record) for layer in owners]
    training = {m: m.training for m in module.modules()}
    module.eval()
    try:
        (run or module)(example)
    finally:
        for hook in hooks:
            hook.remove()
        for m, flag in training.items():
            m.training = flag
    layers = dict(module.named_modules())
    return [_row(name, layers[name], count) for name, count in outputs.items()]


def _row(name: str, layer: nn.Module, outputs: int) -> LayerProfile:
    """The row of a layer that gave `outputs` values."""
    if isinstance(layer, BinaryConv2d | BinaryLinear):
        return _binary_row(name, layer, outputs)
    params = sum(p.numel() for p in layer.parameters(recurse=False))
    macs = outputs * layer.weight[0].numel() if isinstance(layer, nn.Conv2d | nn.Linear) else 0
    return LayerProfile(name, type(layer).__name__, 0, params, 0, macs)


def _binary_row(name: str, layer: BinaryConv2d | BinaryLinear, outputs: int) -> LayerProfile:
    if isinstance(layer.weight_binarizer, RealWeight):
        real_params, macs = sum(p.numel() for p in layer.parameters()), outputs * layer.weight[0].numel()
        return LayerProfile(name, type(layer).__name__, 0, real_params, 0, macs)
    # As the layer's terms(), which it cannot state before its schedules have ended.
    bases = layer.weight_binarizer.bases(layer.weight.detach())
    planes = layer.activation_binarizer.planes()
    factor = layer.output_scale.factor()
    learned = max(1, sum(not bool((basis.signs > 0).all()) for basis in bases))  # a basis of ones is no parameter
    scales = [
        len(basis.signs) if factor is None else factor.numel()
        for basis in bases
        for plane in planes
        if not (basis.scale is None and plane.scale is None and factor is None)
    ]
    thresholds = [
        plane.operand.threshold.numel()
        for plane in planes
        if isinstance(plane.operand, Threshold) and plane.operand.threshold is not None
    ]
    bias = 0 if layer.bias is None else layer.bias.numel()
    macs = outputs * bases[0].signs[0].numel() * len(bases) * len(planes)
    real = any(isinstance(plane.operand, Real) for plane in planes)
    return LayerProfile(
        name,
        type(layer).__name__,
        learned * layer.weight.numel(),
        sum(scales) + sum(thresholds) + bias,
        0 if real else macs,
        macs if real else 0,
    )


def binary_share(rows: Sequence[LayerProfile], prefix: str = "") -> float:
    """Share of multiply-accumulates that are 1-bit, in [0, 1], over the layers whose name starts with `prefix`.

    Args:
        rows: what `profile` returned.
        prefix: for instance ``backbone.``; empty for all.
    """
    chosen = [row for row in rows if row.name.startswith(prefix)]
    bops, flops = sum(row.bops for row in chosen), sum(row.flops for row in chosen)
    return bops / max(bops + flops, 1)


def format_table(rows: Sequence[LayerProfile]) -> str:
    """`rows` as text: a line a layer, the totals, and the share of each top-level part that is 1-bit.

    Args:
        rows: what `profile` returned.
    """
    head = f"{'layer':<52} {'kind':<13} {'1-bit params':>12} {'32-bit params':>13} {'BOPs':>14} {'FLOPs':>13} {'bytes':>10}"
    lines = [head, "-" * len(head)]
    lines += [
        f"{row.name:<52} {row.kind:<13} {row.binary_params:>12,} {row.real_params:>13,} {row.bops:>14,} "
        f"{row.flops:>13,} {row.bytes:>10,}"
        for row in rows
    ]
    total = LayerProfile("total", "", *(sum(getattr(r, k) for r in rows) for k in _SUMMED))
    lines += [
        lines[1],
        f"{'total':<52} {'':<13} {total.binary_params:>12,} {total.real_params:>13,} {total.bops:>14,} "
        f"{total.flops:>13,} {sum(row.bytes for row in rows):>10,}",
        f"OPs = FLOPs + BOPs/64 = {total.flops + total.bops / BOPS_PER_FLOP:,.0f}; as 32-bit floats "
        f"{4 * (total.binary_params + total.real_params):,} bytes",
        "1-bit share of the multiply-accumulates: "
        + ", ".join(f"{part} {binary_share(rows, prefix):.1%}" for part, prefix in _parts(rows)),
    ]
    return "\n".join(lines)


_SUMMED = ("binary_params", "real_params", "bops", "flops")


def _parts(rows: Sequence[LayerProfile]) -> list[tuple[str, str]]:
    parts = dict.fromkeys(row.name.partition(".")[0] for row in rows if "." in row.name and row.bops + row.flops)
    return [("all", ""), *((part, part + ".") for part in parts)]
