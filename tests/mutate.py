"""Damaged and hostile variants of an artifact. Built on the file's layout alone, not on the package.

    python tests/mutate.py ARTIFACT COUNT

loads COUNT mutants, runs those that load, and reports every one that fails with anything but a clean error.
"""

import copy
import hashlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

VALUES = [
    None, True, False, 0, 1, -1, 2, 3, 5, 63, 64, 65, 1023, 1024, 1025, 8192, 8193, 1 << 20, (1 << 31) - 1, 1 << 31,
    1 << 63, 10**19, 10**30, 0.5, -0.5, 1.0, 1e-300, 1e308, -1e308, "", "x", "images", "\x00", "ü", "a" * 300,
    [], {}, [1], [0, 0], [1, 1], [2, 3], [1024, 1024], [1, 1 << 40], [[1, 1]], {"a": 1}, [None], [True, True],
]  # fmt: skip
TEXTS = [
    lambda text: text.replace("[1,1]", "[NaN,1]", 1),
    lambda text: text.replace("[1,1]", "[1e999,1]", 1),
    lambda text: text.replace("[1,1]", "[-Infinity,1]", 1),
    lambda text: text.replace("[1,1]", f"[{'9' * 5000},1]", 1),
    lambda text: text.replace('"attrs":', '"op":"relu","attrs":', 1),
    lambda text: text.replace('"name":"', '"name":"\\ud800', 1),
    lambda text: "[" * 200_000,
    lambda text: '{"outputs":' * 5000,
    lambda text: text.replace('"outputs":', '"outputs":' + "[" * 900, 1),
    lambda text: text[: len(text) // 2],
    lambda text: "",
    lambda text: "null",
    lambda text: text + " " * (17 << 20),
]


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and tensor bytes of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join(header: dict[str, Any], body: bytes) -> bytes:
    """The inverse of `split`."""
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body


def resign(header: dict[str, Any], body: bytes) -> bytes:
    """A file whose digests agree with whatever graph, semantics and tensors it holds now."""
    metadata = header["__metadata__"]
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            text = f"{entry['dtype']}{entry['shape']}".encode()
            tensors[name] = hashlib.sha256(text + body[first:last]).hexdigest()
    digests = {key: hashlib.sha256(metadata[key].encode()).hexdigest() for key in ("graph", "semantics")}
    metadata["sha256"] = json.dumps(digests | {"tensors": tensors})
    return join(header, body)


def with_graph(data: bytes, edit: Callable[[Any], Any]) -> bytes:
    """The file with an edited graph, signed again; `edit` changes the JSON value in place or returns another."""
    header, body = split(data)
    graph = json.loads(header["__metadata__"]["graph"])
    changed = edit(graph)
    header["__metadata__"]["graph"] = json.dumps(graph if changed is None else changed, separators=(",", ":"))
    return resign(header, body)


def with_text(data: bytes, edit: Callable[[str], str]) -> bytes:
    """The file with an edited graph text, signed again."""
    header, body = split(data)
    header["__metadata__"]["graph"] = edit(header["__metadata__"]["graph"])
    return resign(header, body)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in nested JSON."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _edit_graph(graph: Any, rng: random.Random) -> None:
    """One to three random edits of a JSON tree, in place."""
    for _ in range(rng.randint(1, 3)):
        places = list(_places(graph))
        container, key = rng.choice(places)
        other, other_key = rng.choice(places)
        kind = rng.randrange(6)
        if kind < 2:
            container[key] = rng.choice(VALUES)
        elif kind == 2:
            container[key] = copy.deepcopy(other[other_key])
        elif kind == 3:
            del container[key]
        elif kind == 4 and isinstance(container, dict):
            container[rng.choice(["x", "", "op", "groups", "weight", "bias"])] = rng.choice(VALUES)
        elif isinstance(container, list):
            rng.shuffle(container)
        elif type(container[key]) in (int, float):
            container[key] = container[key] * rng.choice([-1, 2, 3, 1000, 10**6]) + rng.choice([-1, 0, 1])


def _edit_tensors(data: bytes, rng: random.Random) -> bytes:
    """Other bytes, dtypes, shapes or names of tensors, signed again."""
    header, body = split(data)
    names = [name for name in header if name != "__metadata__"]
    name = rng.choice(names)
    entry, changed = header[name], bytearray(body)
    kind = rng.randrange(5)
    if kind == 0:
        first, last = entry["data_offsets"]
        changed[first:last] = rng.choice([b"\xff", b"\x00", b"\x7f"]) * (last - first)
    elif kind == 1:
        entry["dtype"] = rng.choice(["F32", "I32", "U8", "F64", "BF16", "BOOL", "F8_E4M3", "U32"])
    elif kind == 2:
        entry["shape"] = rng.choice([entry["shape"][::-1], [*entry["shape"], 1], [1, *entry["shape"]], [0], [2**62, 4]])
    elif kind == 3:
        header[rng.choice(["other", "", "__metadata__2", rng.choice(names)])] = header.pop(name)
    else:
        header[name], other = header[rng.choice(names)], header[name]
        header[rng.choice(names)] = other
    return resign(header, bytes(changed))


def _edit_metadata(data: bytes, rng: random.Random) -> bytes:
    """Missing, foreign or odd metadata."""
    header, body = split(data)
    metadata = header["__metadata__"]
    key = rng.choice(list(metadata))
    odd = [
        "",
        "2",
        "1.0",
        "{}",
        "[]",
        "null",
        "x",
        " 1",
        "\ud800",
        '{"graph":1,"semantics":2,"tensors":3}',
        1,
        None,
        {},
        [1],
    ]
    kind = rng.randrange(3)
    if kind == 0:
        del metadata[key]
    elif kind == 1:
        metadata[key] = rng.choice(odd)
    else:
        header["__metadata__"] = rng.choice(odd)
    return join(header, body)


def _edit_bytes(data: bytes, rng: random.Random) -> bytes:
    """Cut, grown, or with flipped bits or an odd header length."""
    changed = bytearray(data)
    kind = rng.randrange(5)
    if kind == 0:
        return data[: rng.randrange(len(data))]
    if kind == 1:
        return data + rng.randbytes(rng.randint(1, 100))
    if kind == 2:
        changed[:8] = rng.choice([0, 1, 2**63, 2**64 - 1, len(data), len(data) - 8, rng.randrange(2**20)]).to_bytes(
            8, "little"
        )
    elif kind == 3:
        at = rng.randrange(len(data))
        changed[at : at + 16] = rng.randbytes(min(16, len(data) - at))
    else:
        for _ in range(rng.randint(1, 8)):
            changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def mutants(data: bytes, seed: int) -> Iterator[tuple[str, bytes]]:
    """Endless (kind, file) variants of an artifact; the same seed gives the same."""
    rng = random.Random(seed)
    for index, edit in enumerate(TEXTS):
        yield f"text {index}", with_text(data, edit)
    while True:
        kind = rng.choice(["bytes", "metadata", "tensors", "graph", "graph", "graph", "graph"])
        if kind == "bytes":
            yield kind, _edit_bytes(data, rng)
        elif kind == "metadata":
            yield kind, _edit_metadata(data, rng)
        elif kind == "tensors":
            yield kind, _edit_tensors(data, rng)
        else:
            yield kind, with_graph(data, lambda graph: _edit_graph(graph, rng))


def try_mutant(path: Path, data: bytes) -> str:
    """Load a mutant and, where it is cheap, run it: "refused", "ran", "refused to run" or "too big to try".

    Anything else than ArtifactError from loading, or ValueError from running, comes through.
    """
    import numpy as np

    from bnn_tasks.runtime import ArtifactError, Session

    path.write_bytes(data)
    try:
        session = Session(path)
    except ArtifactError as error:
        if str(path) not in str(error) or len(str(error)) > 5000:
            raise RuntimeError(f"a message without the file, or without end: {str(error)[:200]}") from error
        return "refused"
    try:
        size = (16, 16) if session.resize is None else session.resize.sizes[0]
        plan = session.plan(*size)
        if plan.work > 10**8 or plan.live_bytes > 10**8:
            return "too big to try"
        x = np.random.default_rng(0).random((1, session.graph.channels, *size), np.float32)
        session.forward(x)
        if session.graph.results:
            session([np.zeros((9, 7, 3), np.uint8)])
    except ValueError:
        return "refused to run"
    return "ran"


def main() -> None:
    data = Path(sys.argv[1]).read_bytes()
    results: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for number, (kind, mutant) in zip(range(int(sys.argv[2])), mutants(data, seed=1)):
            start = time.perf_counter()
            try:
                results[try_mutant(Path(folder) / "mutant.safetensors", mutant)] += 1
            except BaseException as error:
                results["FAILED"] += 1
                print(f"mutant {number} ({kind}): {error!r}")
            slowest = max(slowest, time.perf_counter() - start)
    print(dict(results), f"slowest {slowest:.2f} s")


if __name__ == "__main__":
    main()
