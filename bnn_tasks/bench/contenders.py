"""Who runs against the artifact, by name: what each needs, opens, and how closely it must compute what the twin computes."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bnn_tasks.bench.material import Net
from bnn_tasks.bench.peers.base import Contender

Open = Callable[[Net, int, Mapping[str, Any]], Contender]
INSTALL = "pip install 'bnn-tasks[bench]'"


@dataclass(frozen=True)
class Entry:
    """One line of the table.

    Attributes:
        family: what `--against` names.
        opener: key of `OPENERS`.
        packages: that must be installed.
        alternatives: options of ways to run it, of which the fastest counts; each needs its `file`, if it names one.
        correlation: with the twin's outputs, at least.
        error: against the twin's outputs, at most, in standard deviations of the output; None for no limit.
    """

    family: str
    opener: str
    packages: tuple[str, ...]
    alternatives: tuple[Mapping[str, Any], ...] = ({},)
    correlation: float = 0.999
    error: float | None = 1e-2


FP32, QDQ, NNCF = "twin.onnx", "twin_qdq.onnx", "twin_nncf.xml"
_INT8 = tuple(
    {"file": file, "precision": precision, "expected": ["u8", "i8"]}
    for file in (QDQ, NNCF)
    for precision in ("f32", "bf16")
)
OURS, SUMS = "bnn_tasks", "bnn_tasks-sums"
ENTRIES: dict[str, Entry] = {
    OURS: Entry("", "ours", ()),
    "torch-fp32": Entry("torch", "torch", ("torch",)),
    "onnxruntime-fp32": Entry("onnxruntime", "onnxruntime", ("torch", "onnx", "onnxruntime"), ({"file": FP32},)),
    "onnxruntime-int8": Entry(
        "onnxruntime", "onnxruntime", ("torch", "onnx", "onnxruntime"), ({"file": QDQ},), 0.9, None
    ),
    "openvino-fp32": Entry(
        "openvino",
        "openvino",
        ("torch", "onnx", "openvino"),
        ({"file": FP32, "precision": "f32", "expected": ["f32"]},),
    ),
    "openvino-bf16": Entry(
        "openvino",
        "openvino",
        ("torch", "onnx", "openvino"),
        ({"file": FP32, "precision": "bf16", "expected": ["bf16"]},),
        0.99,
        None,
    ),
    "openvino-int8": Entry("openvino", "openvino", ("torch", "onnx", "openvino"), _INT8, 0.9, None),
}
# Of `bench --convolutions` alone.
BOTH_LAYOUTS: tuple[Mapping[str, Any], ...] = ({"nhwc": False}, {"nhwc": True})
LAYER_ENTRIES: dict[str, Entry] = {
    SUMS: Entry("", "sums", (), error=0.0),
    "openvino-binary": Entry("openvino", "openvino-binary", ("openvino",), BOTH_LAYOUTS, error=0.0),
    "openvino-layer-fp32": Entry(
        "openvino",
        "openvino",
        ("torch", "onnx", "openvino"),
        tuple({"file": FP32, "precision": "f32", "expected": ["f32"], **layout} for layout in BOTH_LAYOUTS),
    ),
}
FAMILIES = ("torch", "onnxruntime", "openvino")


def selected(against: Sequence[str]) -> list[str]:
    """Names of the peers that families or names stand for, in the table's order.

    Args:
        against: families or names; `none` alone for no peer.

    Raises:
        ValueError: one is unknown; says the known ones.
    """
    if list(against) == ["none"]:
        return []
    peers = [name for name, entry in ENTRIES.items() if entry.family]
    for name in against:
        if name not in FAMILIES and name not in peers:
            raise ValueError(
                f"Expected `--against` to name {', '.join(FAMILIES)}, or one of {', '.join(peers)}, or none; but got {name!r}."
            )
    return [name for name in peers if name in against or ENTRIES[name].family in against]


def entry(name: str) -> Entry:
    """The entry of this name, of whole nets or of layers."""
    return ENTRIES.get(name) or LAYER_ENTRIES[name]


def missing(name: str) -> str | None:
    """What keeps a contender from running on this machine, with the cure; None for nothing."""
    lacking = [package for package in entry(name).packages if importlib.util.find_spec(package) is None]
    return f"needs {', '.join(lacking)}. Cure: {INSTALL}" if lacking else None


def _ours() -> Open:
    from bnn_tasks.bench.peers.ours import open_ours

    return open_ours


def _sums() -> Open:
    from bnn_tasks.bench.peers.ours import open_sums

    return open_sums


def _torch() -> Open:
    from bnn_tasks.bench.peers.pytorch import open_torch

    return open_torch


def _onnxruntime() -> Open:
    from bnn_tasks.bench.peers.onnx_runtime import open_onnxruntime

    return open_onnxruntime


def _openvino() -> Open:
    from bnn_tasks.bench.peers.open_vino import open_openvino

    return open_openvino


def _openvino_binary() -> Open:
    from bnn_tasks.bench.peers.open_vino_binary import open_binary

    return open_binary


# Each engine is imported in its contender's own process alone.
OPENERS: dict[str, Callable[[], Open]] = {
    "ours": _ours,
    "sums": _sums,
    "torch": _torch,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "openvino-binary": _openvino_binary,
}
