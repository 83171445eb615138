"""What the contenders work on, as files in one folder a net: inputs, the values they are judged by, float models."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bnn_tasks.bench.simplify import float_net, raw_outputs
from bnn_tasks.runtime import Session
from bnn_tasks.runtime.format import load
from bnn_tasks.runtime.images import to_channels

EXAMPLES = "examples.npz"  # `x0`, `x1`, …: RGB canvases of a detector, uint8 [H, W, 3], else float32 [H, W, C]
FED = "fed.npz"  # `x0`, …: the same as the float twin takes them, float32 and normalised
GIVEN = "given.npz"  # `0/0`, …: what the float twin takes besides, the artifact's own features of regions, (1, C, R, 1)
EXPECTED = "expected.npz"  # `y0`, `y1`, …: the twin's outputs for the first example, (1, …)
ACTUAL = "actual.npz"  # `0/name`, …: the artifact's own raw outputs, a map (C, H, W), of a detector [H, W, C]


@dataclass(frozen=True)
class Net:
    """One net to time.

    Attributes:
        name: for the table.
        artifact: its file.
        float_artifact: the file whose float twin the peers run; the artifact itself, or a float net's.
        folder: where the material is.
        size: (height, width) of the input, pixels.
        detector: whether time runs from a picture to its detections; else from a float tensor to raw outputs, or of a segmenter
            to its class map.
        layer: name of the node, of a single layer: timed from map to map; empty for a net.
    """

    name: str
    artifact: str
    float_artifact: str
    folder: str
    size: tuple[int, int]
    detector: bool
    layer: str = ""

    def path(self, name: str) -> Path:
        """A file of the material."""
        return Path(self.folder) / name

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Net":
        """The inverse of `to_dict`, after JSON."""
        return Net(**values | {"size": tuple(values["size"])})


def write_examples(net: Net, session: Session, examples: Sequence[np.ndarray]) -> None:
    """Store the inputs and what the artifact makes of them.

    Args:
        net: whose folder exists.
        session: on its artifact.
        examples: uint8 [H, W, 3] for a detector, whatever its channels, else float32 [H, W, C].
    """
    _save(net.path(EXAMPLES), {f"x{index}": x for index, x in enumerate(examples)})
    # Here and not in the peers' processes, whose memory is measured: they need not open the artifact.
    floats = float_net(*load(net.float_artifact))
    mean, std = (0.0, 1.0) if floats.mean is None or floats.std is None else (floats.mean, floats.std)
    fed = {f"x{index}": (as_input(x, floats.channels) - mean) / std for index, x in enumerate(examples)}
    _save(net.path(FED), fed)
    actual = {}
    for index, x in enumerate(examples):
        values = session.values(as_input(x, session.graph.channels).transpose(2, 0, 1))
        for name in raw_outputs(session.graph):
            value = values[name]
            actual[f"{index}/{name}"] = np.ascontiguousarray(value.transpose(1, 2, 0)) if net.detector else value
    _save(net.path(ACTUAL), actual)
    _write_given(net, session, examples)


def _write_given(net: Net, session: Session, examples: Sequence[np.ndarray]) -> None:
    names = float_net(*load(net.float_artifact)).given
    given: dict[str, np.ndarray] = {}
    if names:
        source = session if net.float_artifact == net.artifact else Session(net.float_artifact)
        for index, x in enumerate(examples):
            values = source.values(as_input(x, source.graph.channels).transpose(2, 0, 1))
            given |= {f"{index}/{number}": values[name][None] for number, name in enumerate(names)}
    _save(net.path(GIVEN), given)


def as_input(x: np.ndarray, channels: int) -> np.ndarray:
    """An example as a net takes it, float32 [H, W, C]; bytes become numbers in [0, 1].

    Args:
        x: uint8 [H, W, 3] or float32 [H, W, C].
        channels: C, that of an RGB canvas to be made: 3 or 1.
    """
    return to_channels(x, channels).astype(np.float32) / np.float32(255) if x.dtype == np.uint8 else x


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(path, **arrays)  # type: ignore[arg-type]  # the stubs take every key for `allow_pickle`


def read_examples(net: Net) -> list[np.ndarray]:
    """The inputs."""
    return _read(net, EXAMPLES)


def read_fed(net: Net) -> list[np.ndarray]:
    """The inputs as the float twin takes them: float32 [H, W, C], normalised."""
    return _read(net, FED)


def _read(net: Net, name: str) -> list[np.ndarray]:
    with np.load(net.path(name)) as file:
        return [file[f"x{index}"] for index in range(len(file.files))]


def read_given(net: Net, index: int) -> list[np.ndarray]:
    """What the float twin takes besides one input, (1, C, H, W) each, in its order."""
    with np.load(net.path(GIVEN)) as file:
        names = [name for name in file.files if name.startswith(f"{index}/")]
        return [file[f"{index}/{number}"] for number in range(len(names))]


def read_actual(net: Net, index: int) -> dict[str, np.ndarray]:
    """The artifact's own raw outputs for one input, by name."""
    with np.load(net.path(ACTUAL)) as file:
        head = f"{index}/"
        return {name.removeprefix(head): file[name] for name in file.files if name.startswith(head)}


def read_expected(net: Net) -> list[np.ndarray]:
    """The twin's outputs for the first input."""
    with np.load(net.path(EXPECTED)) as file:
        return [file[f"y{index}"] for index in range(len(file.files))]


def write_expected(net: Net, outputs: Sequence[np.ndarray]) -> None:
    """Store the twin's outputs for the first input.

    Args:
        net: whose folder exists.
        outputs: (1, …) each.
    """
    _save(net.path(EXPECTED), {f"y{index}": y for index, y in enumerate(outputs)})
