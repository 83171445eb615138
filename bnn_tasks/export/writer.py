"""export(): write the artifact of a module, read it back, and compare before returning."""

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bnn_tasks.export.builder import ExportError, GraphBuilder
from bnn_tasks.export.stage import is_layer
from bnn_tasks.export.trace import GraphWriter
from bnn_tasks.export.verify import Parity, verify
from bnn_tasks.models import Detector, ImageClassifier, Segmenter
from bnn_tasks.runtime import Resize, Session
from bnn_tasks.runtime.format import save
from bnn_tasks.runtime.graph import Graph


@dataclass(frozen=True)
class ExportReport:
    """What was written and what the comparison found.

    Attributes:
        path: the artifact.
        file_bytes: its size.
        float_bytes: size of the module's parameters and buffers as 32-bit floats.
        tensor_bytes: bytes of the artifact's tensors by kind.
        binary_layers: calls of binary layers.
        folded: how many of them read bits that a folded BatchNorm threshold made.
        parity: the comparison with the module.
    """

    path: Path
    file_bytes: int
    float_bytes: int
    tensor_bytes: dict[str, int]
    binary_layers: int
    folded: int
    parity: Parity

    def __str__(self) -> str:
        parts = ", ".join(f"{kind} {size:,}" for kind, size in self.tensor_bytes.items())
        p = self.parity
        pixels = f"; of {p.pixels:,} pixels {p.pixel_ties} differ in class, all ties of two" if p.pixels else ""
        shrunk = self.float_bytes / self.file_bytes
        share = f"1/{shrunk:.1f} of" if shrunk >= 1 else f"{1 / shrunk:.1f} times"
        return (
            f"{self.path}: {self.file_bytes:,} bytes, {share} the module's "
            f"{self.float_bytes:,} as 32-bit floats\n"
            f"  made of: {parts}, graph and header {self.file_bytes - sum(self.tensor_bytes.values()):,}\n"
            f"  {self.binary_layers} binary layers, {self.folded} of them behind a folded BatchNorm\n"
            f"  checked on {p.images} image(s): {p.accumulators:,} accumulators identical; of {p.bits:,} activation bits "
            f"{p.ties} differ, all rounding ties; raw outputs within {p.output_error:.1e} standard deviations{pixels}"
        )


def _tensor_kind(op: str, role: str) -> str:
    if role == "weight":
        return "1-bit weights" if op.startswith("binary_") else "32-bit weights"
    return "BatchNorms, scales, thresholds, biases"


def _sizes(builder: GraphBuilder) -> dict[str, int]:
    sizes = dict.fromkeys(("1-bit weights", "32-bit weights", "BatchNorms, scales, thresholds, biases"), 0)
    seen: set[str] = set()
    for node in builder.nodes:
        for role, name in node.tensors.items():
            if name not in seen:
                seen.add(name)
                sizes[_tensor_kind(node.op, role)] += builder.tensors[name].nbytes
    return sizes


def _check_arguments(module: nn.Module, example: Tensor, classes: Sequence[str], resize: Resize | None) -> None:
    if not isinstance(module, nn.Module) or not isinstance(example, Tensor):
        raise TypeError(f"Expected a module and an example tensor, but got {type(module)} and {type(example)}.")
    if example.dim() != 4 or example.dtype != torch.float32 or len(example) < 1:
        raise ValueError(
            f"Expected `example` to be a float32 batch (N, C, H, W), but got {example.dtype} {tuple(example.shape)}."
        )
    model = isinstance(module, Detector | ImageClassifier | Segmenter)
    if model and (len(classes) != module.num_classes or resize is None):
        raise ValueError(
            f"Expected `classes` to name the {module.num_classes} classes of a {type(module).__name__}, and `resize` to say "
            f"how pictures become its input, but got {classes!r} and {resize!r}. Cure: export(module, path, example=..., "
            'classes=[...], resize=bnn_tasks.runtime.Resize(((height, width),), "letterbox")).'
        )


def export(
    module: nn.Module,
    path: str | os.PathLike[str],
    *,
    example: Tensor,
    classes: Sequence[str] = (),
    resize: Resize | None = None,
) -> ExportReport:
    """Write a module as an artifact of the runtime, reload it and prove on `example` that it computes the same.

    Args:
        module: made of this package's layers and models and of the float layers listed in `bnn_tasks.export.layers`; any
            mode and precision: a copy in eval mode and float32 is exported, the module is not changed.
        path: the file to write, MODEL.safetensors; written whole or not at all.
        example: (N, C, H, W) float32; a model's images are RGB in [0, 1].
        classes: the names of its classes, for a detector, segmenter or classifier of `bnn_tasks.models`.
        resize: how images of any size become its input, for the same; other modules may do without.

    Returns:
        Sizes and the result of the comparison.

    Raises:
        ExportError: a layer has no operation in the runtime; the message names it.
        TypeError: `module` is no module or `example` no tensor.
        ValueError: `example` is not such a batch, a model lacks names for its classes or `resize`, `path` is a
            folder, or its folder is missing.
        ParityError: the artifact does not compute what the module computes; no file is left.
    """
    _check_arguments(module, example, classes, resize)
    target = Path(path)
    if target.is_dir():
        raise ValueError(
            f"Expected a file to write, but {os.fspath(path)!r} is a folder. Cure: name a file in it, MODEL.safetensors."
        )
    if not target.resolve().parent.is_dir():  # said before the comparison, not after
        raise ValueError(
            f"Expected a file in a folder that exists, but got {os.fspath(path)!r}. Cure: make the folder."
        )
    frozen = copy.deepcopy(module).cpu().float().eval()
    if is_layer(frozen):
        frozen = nn.Sequential(frozen)  # the tracer looks at what is inside a module
    writer = GraphWriter(frozen)
    graph = Graph(
        nodes=tuple(writer.builder.nodes),
        outputs=_plain(writer.outputs),
        channels=example.shape[1],
        detections=writer.detections,
        classes=tuple(classes),
        resize=None if resize is None else resize.to_dict(),
        probabilities=writer.probabilities,
        class_map=writer.class_map,
    )
    draft = target.with_name(target.name + ".unverified")
    try:
        save(draft, graph, writer.builder.tensors)
        parity = verify(frozen, Session(draft), writer, example)
        os.replace(draft, target)
    except ValueError as error:
        raise type(error)(str(error).replace(str(draft), str(target))) from error
    finally:
        draft.unlink(missing_ok=True)
    floats = sum(t.numel() for t in {id(t): t for t in (*frozen.parameters(), *frozen.buffers())}.values())
    return ExportReport(
        target,
        target.stat().st_size,
        4 * floats,
        _sizes(writer.builder),
        len(writer.sites),
        sum(site.folded for site in writer.sites),
        parity,
    )


def _plain(outputs: Any) -> Any:
    if isinstance(outputs, dict):
        if not all(isinstance(key, str) for key in outputs):
            raise ExportError(f"Expected forward to return dicts with strings as keys, but got {list(outputs)}.")
        return {key: _plain(value) for key, value in outputs.items()}
    if isinstance(outputs, list | tuple):
        return [_plain(value) for value in outputs]
    if not isinstance(outputs, str):
        raise ExportError(f"Expected forward to return tensors in lists and dicts, but got {type(outputs).__name__}.")
    return outputs
