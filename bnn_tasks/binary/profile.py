"""Which layers are really binary, and what each costs: parameters, operations, bytes.

OPs = FLOPs + BOPs / 64, with one operation a multiply-accumulate (Liu et al., Bi-Real Net, 2018). Only a layer whose
weights *and* activations have 1 bit counts BOPs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bnn_tasks.binary.layers import BinaryConv2d, BinaryLinear


@dataclass(frozen=True)
class LayerProfile:
    """One layer that owns parameters.

    Attributes:
        name: its path in the module.
        kind: its class.
        binary_params: 1-bit parameters.
        real_params: 32-bit parameters.
        bops: binary multiply-accumulates of one image.
        flops: real multiply-accumulates of one image.
        bytes: of its parameters, 1-bit ones packed.
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


def _macs(module: nn.Module, output: Tensor) -> int:
    match module:
        case nn.Conv2d() | BinaryConv2d():
            return output[0].numel() * module.weight[0].numel()
        case nn.Linear() | BinaryLinear():
            return output[0].numel() * module.weight.shape[1]
        case _:
            return 0


@torch.no_grad()
def profile(module: nn.Module, example: Tensor) -> list[LayerProfile]:
    """Run `module` once and list every layer that owns parameters, in the order of first use.

    A layer used several times (a head shared by the levels of a pyramid) is one row with its summed operations.

    Args:
        module: any module that takes one tensor.
        example: its input, (1, ...); only the size counts.
    """
    macs: dict[str, int] = {}
    names = {id(m): name for name, m in reversed(list(module.named_modules()))}
    owners = [m for m in module.modules() if any(True for _ in m.parameters(recurse=False))]

    def record(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        name = names[id(layer)]
        macs[name] = macs.get(name, 0) + _macs(layer, output)

    hooks = [layer.register_forward_hook(record) for layer in owners]
    training = {m: m.training for m in module.modules()}
    module.eval()
    try:
        module(example)
    finally:
        for hook in hooks:
            hook.remove()
        for m, flag in training.items():
            m.training = flag
    layers = dict(module.named_modules())
    return [_row(name, layers[name], count) for name, count in macs.items()]


def _row(name: str, layer: nn.Module, macs: int) -> LayerProfile:
    binary = isinstance(layer, BinaryConv2d | BinaryLinear)
    params = sum(p.numel() for p in layer.parameters(recurse=False))
    bits = layer.weight.numel() if isinstance(layer, BinaryConv2d | BinaryLinear) else 0
    return LayerProfile(name, type(layer).__name__, bits, params - bits, macs if binary else 0, 0 if binary else macs)


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
        f"OPs = FLOPs + BOPs/64 = {total.flops + total.bops / 64:,.0f}; as 32-bit floats "
        f"{4 * (total.binary_params + total.real_params):,} bytes",
        "1-bit share of the multiply-accumulates: "
        + ", ".join(f"{part} {binary_share(rows, prefix):.1%}" for part, prefix in _parts(rows)),
    ]
    return "\n".join(lines)


_SUMMED = ("binary_params", "real_params", "bops", "flops")


def _parts(rows: Sequence[LayerProfile]) -> list[tuple[str, str]]:
    parts = dict.fromkeys(row.name.partition(".")[0] for row in rows if "." in row.name and row.bops + row.flops)
    return [("all", ""), *((part, part + ".") for part in parts)]
