"""The artifact: one safetensors file with a graph, its tensors, and what it takes to trust them.

Metadata, all strings: `format`, `format_version`, `semantics` (JSON, must equal `SEMANTICS`), `graph` (JSON, see
`Graph`), `sha256` (JSON: digests of the graph's and the semantics' UTF-8 text and of every tensor).
"""

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from bnn_tasks.runtime import strict_json
from bnn_tasks.runtime.errors import ArtifactError, GraphError
from bnn_tasks.runtime.graph import Graph, Node
from bnn_tasks.runtime.ops import OPS
from bnn_tasks.runtime.plan import MAX_PREPARED_BYTES, infer_kinds, make_plan, node_tensors, prepared_bytes
from bnn_tasks.runtime.schema import read_graph, read_name

__all__ = ["FORMAT", "FORMAT_VERSION", "SEMANTICS", "ArtifactError", "Graph", "Node", "load", "save"]

FORMAT = "bnn_tasks"
FORMAT_VERSION = 1
SEMANTICS: dict[str, Any] = {
    "input": "float32 NCHW RGB in [0, 1]",
    "sign_of_zero": 1,
    "bit_one": 1,
    "dot_product": "K - 2 popcount(a xor b)",
    "weight_bits": "OIHW rows, least significant bit first",
    "boxes": "xyxy pixels",
    "labels": "0-based",
    "resize_nearest": "floor(i * float32(source / size))",
}

MAX_FILE_BYTES = 4 << 30
MAX_GRAPH_BYTES = 8 << 20  # a hundred times the largest of our nets; once read, JSON takes up to 30 times that
MAX_HEADER_BYTES = 16 << 20  # the graph escaped once more, digests, and safetensors' own entries
DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "I32": np.dtype("<i4"),
    "U8": np.dtype("u1"),
}  # safetensors name -> little endian
_NAMES = {dtype.newbyteorder("="): name for name, dtype in DTYPES.items()}
_METADATA = {"format", "format_version", "semantics", "graph", "sha256"}


def save(path: str | os.PathLike[str], graph: Graph, tensors: dict[str, np.ndarray]) -> None:
    """Check an artifact as `load` does, then write it: to a temporary file beside `path`, renamed when complete.

    Args:
        path: of the file to write; an existing one is replaced.
        graph: the network.
        tensors: name -> float32, int32 or uint8 array; exactly those that the graph names.

    Raises:
        ArtifactError: the artifact would not load.
        OSError: the file cannot be written.
    """
    path = Path(path)
    try:
        data = encode(graph.to_dict(), tensors)
        decode(data)
    except GraphError as error:
        raise ArtifactError(f"{path}: {error}") from error
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: str | os.PathLike[str]) -> tuple[Graph, dict[str, np.ndarray]]:
    """Read an artifact and check all of it before anything runs.

    The file is read once, into memory: a memory map of a file that another process cuts short would crash.

    Args:
        path: of the file.

    Returns:
        The graph, and name -> array.

    Raises:
        ArtifactError: the file is damaged, of another kind or version, or needs more than the documented limits.
        OSError: the file cannot be read.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # reading a named pipe would wait for ever
            raise GraphError("Expected a regular file.")
        if status.st_size > MAX_FILE_BYTES:
            raise GraphError(f"Expected at most {MAX_FILE_BYTES} bytes, but the file has {status.st_size}.")
        with open(path, "rb") as file:
            return decode(file.read(status.st_size))
    except GraphError as error:
        raise ArtifactError(f"{os.fspath(path)}: {error}") from error


def encode(graph: dict[str, Any], tensors: dict[str, np.ndarray]) -> bytes:
    """The file's bytes, digests included; the graph is not checked. The same artifact gives the same bytes.

    Args:
        graph: as `Graph.to_dict` gives it.
        tensors: name -> float32, int32 or uint8 array.

    Returns:
        A safetensors file.

    Raises:
        GraphError: a tensor is of another dtype, or the graph is not JSON.
    """
    offset, entries, blobs, digests = 0, {}, [], {}
    # by falling item size, so that every tensor starts aligned to its items, as safetensors asks
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        if tensor.dtype not in _NAMES:
            raise GraphError(f"Expected tensor `{name}` to be of {[str(d) for d in _NAMES]}, but got {tensor.dtype}.")
        dtype = _NAMES[tensor.dtype]
        blob = np.ascontiguousarray(tensor, DTYPES[dtype]).tobytes()
        digests[name] = _tensor_digest(dtype, tensor.shape, blob)
        entries[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    try:
        texts = {"semantics": _dump(SEMANTICS), "graph": _dump(graph)}
    except (TypeError, ValueError) as error:
        raise GraphError(f"Expected a graph of plain JSON values, but got {error}.") from error
    sha256 = {name: _text_digest(text) for name, text in texts.items()} | {"tensors": digests}
    metadata = {"format": FORMAT, "format_version": str(FORMAT_VERSION), **texts, "sha256": _dump(sha256)}
    header = _dump({"__metadata__": metadata, **entries}).encode()
    header += b" " * (-len(header) % 8)
    return b"".join([len(header).to_bytes(8, "little"), header, *blobs])


def decode(data: bytes) -> tuple[Graph, dict[str, np.ndarray]]:
    """Graph and tensors from a file's bytes, checked; raises GraphError."""
    metadata = _metadata(data)
    if metadata.get("format") != FORMAT:
        raise GraphError(f"Expected a file written by `bnn-tasks export`, but its format is not `{FORMAT}`.")
    version = metadata.get("format_version")
    if version != str(FORMAT_VERSION):
        newer = isinstance(version, str) and version.isdecimal() and version > str(FORMAT_VERSION)
        cure = "it was written by a newer release: upgrade bnn-tasks" if newer else "export the network again"
        raise GraphError(f"Expected format version {FORMAT_VERSION}, but got {str(version)[:20]!r}; {cure}.")
    if metadata.keys() != _METADATA or not all(isinstance(text, str) for text in metadata.values()):
        raise GraphError(f"Expected the metadata to be strings under {sorted(_METADATA)}.")
    if len(_utf8(metadata["graph"])) > MAX_GRAPH_BYTES:
        raise GraphError(f"Expected a graph of at most {MAX_GRAPH_BYTES} bytes.")
    tensors = _tensors(data, _digests(metadata))
    if _dump(strict_json.loads(metadata["semantics"], "`semantics`")) != _dump(SEMANTICS):
        raise GraphError("Expected the semantics of this release, but the file's differ; export the network again.")
    graph = read_graph(strict_json.loads(metadata["graph"], "`graph`"))
    _check(graph, tensors)
    return graph, tensors


def _dump(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"), sort_keys=True)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # lone surrogates are refused later, as names


def _text_digest(text: str) -> str:
    return hashlib.sha256(_utf8(text)).hexdigest()


def _tensor_digest(dtype: str, shape: tuple[int, ...], blob: bytes) -> str:
    return hashlib.sha256(f"{dtype}{list(shape)}".encode() + blob).hexdigest()


def _metadata(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise GraphError("Expected a safetensors file, but it is cut short or something else.")
    if length > MAX_HEADER_BYTES:
        raise GraphError(f"Expected a header of at most {MAX_HEADER_BYTES} bytes, but it has {length}.")
    header = strict_json.loads(data[8 : 8 + length], "the header")
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict):
        raise GraphError("Expected a safetensors file with metadata, but it has none.")
    return metadata


def _digests(metadata: dict[str, str]) -> dict[str, str]:
    """The tensors' digests, once those of the texts agree."""
    stated = strict_json.loads(metadata["sha256"], "`sha256`")
    if not isinstance(stated, dict) or stated.keys() != {"graph", "semantics", "tensors"}:
        raise GraphError("Expected `sha256` to have the keys graph, semantics and tensors.")
    for name in ("graph", "semantics"):
        if stated[name] != _text_digest(metadata[name]):
            raise GraphError(f"Expected the digest of `{name}` to agree, but it does not: the file is damaged.")
    if not isinstance(stated["tensors"], dict):
        raise GraphError("Expected `sha256` to hold the digests of the tensors.")
    return stated["tensors"]


def _tensors(data: bytes, digests: dict[str, str]) -> dict[str, np.ndarray]:
    try:
        entries = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise GraphError(f"Expected a safetensors file, but {error}.") from error
    tensors: dict[str, np.ndarray] = {}
    for name, entry in entries:
        read_name(name, "a tensor's name")
        dtype, shape, blob = entry["dtype"], tuple(entry["shape"]), bytes(entry["data"])
        if dtype not in DTYPES:
            raise GraphError(f"Expected tensor `{name}` to be of {list(DTYPES)}, but got {dtype}.")
        if digests.get(name) != _tensor_digest(dtype, shape, blob):
            raise GraphError(f"Expected the digest of tensor `{name}` to agree, but it does not: the file is damaged.")
        tensor = np.frombuffer(blob, DTYPES[dtype]).reshape(shape)
        tensors[name] = tensor.astype(
            DTYPES[dtype].newbyteorder("=")
        )  # a copy: aligned, and writable for numba's types
        if tensor.size == 0 or (tensor.dtype.kind == "f" and not np.isfinite(tensor).all()):
            raise GraphError(
                f"Expected tensor `{name}` to hold finite numbers, but it is empty or has NaN or infinity."
            )
    if tensors.keys() != digests.keys():
        raise GraphError(f"Expected the tensors {sorted(digests)[:5]}… of `sha256`, but some are missing.")
    return tensors


def _check(graph: Graph, tensors: dict[str, np.ndarray]) -> None:
    """Everything that needs graph and tensors together."""
    used: set[str] = set()
    for node in graph.nodes:
        op = OPS[node.op]
        try:
            for role, name in node.tensors.items():
                if name not in tensors:
                    raise GraphError(f"Expected tensor `{name}` ({role}) in the file, but it is missing.")
                expected, tensor = op.roles[role], tensors[name]
                if tensor.dtype != expected.dtype or tensor.ndim != expected.rank:
                    raise GraphError(
                        f"Expected tensor `{name}` ({role}) to be {expected.dtype} with {expected.rank} axes, "
                        f"but got {tensor.dtype} with {tensor.ndim}."
                    )
                used.add(name)
            op.check(node.attrs, node_tensors(node, tensors))
        except GraphError as error:
            raise GraphError(f"node `{node.name}` ({node.op}): {error}") from error
    if used != tensors.keys():
        raise GraphError(f"Expected every tensor to be used, but no node uses {sorted(tensors.keys() - used)[:5]}.")
    if (needed := prepared_bytes(graph, tensors)) > MAX_PREPARED_BYTES:
        raise GraphError(f"The weights need {needed} bytes at work; the limit is {MAX_PREPARED_BYTES}.")
    if graph.resize is None:
        infer_kinds(graph, tensors, None, None)
    else:
        for height, width in graph.resize["sizes"]:
            make_plan(graph, tensors, height, width)
