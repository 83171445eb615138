"""What a result depends on, as one number: equal where settings, images and weights are."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from bnn_tasks.tasks.robustness.victims import Victim


def fingerprint(value: Any) -> str:
    """SHA-256, in hexadecimal, of everything that a value consists of.

    Of a path the file counts, as of a victim that has one; of any other object class and attributes, of a module all its parts.

    Args:
        value: of numbers, text, paths, tensors, lists, dictionaries, iterators, classes, and objects of those; no cycles.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for part in _parts(value):
        # The length goes first: "ab", "c" is not "a", "bc".
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    match value:
        case None | bool() | int() | float() | str() | torch.dtype():
            yield repr(value).encode()
        case Tensor():
            yield f"{value.dtype} {tuple(value.shape)}".encode()
            yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        case type() | FunctionType():
            yield f"{value.__module__}.{value.__qualname__}".encode()
        case dict():
            yield f"dict {len(value)}".encode()
            for key, one in value.items():
                yield from _parts(key)
                yield from _parts(one)
        case list() | tuple():
            yield f"list {len(value)}".encode()
            for one in value:
                yield from _parts(one)
        case Iterator():  # as long as it is, so that no more than one of its values is in memory
            for one in value:
                yield from _parts(one)
            yield b"end"
        case Path():
            yield str(value).encode()
            with open(value, "rb") as file:
                yield hashlib.file_digest(file, "sha256").digest()
        case Victim() if Path(value.path).is_file():
            yield from _parts([type(value), Path(value.path)])
        case nn.Module():
            own = {name: one for name, one in vars(value).items() if not name.startswith("_")}
            weights = [dict(value.named_parameters(recurse=False)), dict(value.named_buffers(recurse=False))]
            yield from _parts([type(value), own, weights, dict(value.named_children())])
        case _:
            yield from _parts([type(value), vars(value)])
