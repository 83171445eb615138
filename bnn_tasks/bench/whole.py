"""`bnn-tasks bench MODEL`: a whole net against the float net of its shapes in other engines."""

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bnn_tasks.bench.contenders import FP32, OURS, entry, missing, selected
from bnn_tasks.bench.float_models import write_models, write_twin
from bnn_tasks.bench.material import Net, as_input, write_examples
from bnn_tasks.bench.race import TURN_SECONDS, race
from bnn_tasks.bench.report import NetFacts, Report
from bnn_tasks.bench.simplify import float_net
from bnn_tasks.runtime import Resize, Session, read_image
from bnn_tasks.runtime.format import load, save
from bnn_tasks.runtime.graph import Graph
from bnn_tasks.runtime.images import image_files
from bnn_tasks.runtime.session import cores

EXAMPLES = 4  # pictures in rotation
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def bench(
    model: str | os.PathLike[str],
    against: Sequence[str] = ("torch", "onnxruntime", "openvino"),
    threads: int = 1,
    size: tuple[int, int] | None = None,
    rounds: int = 15,
    images: str | os.PathLike[str] | None = None,
    float_model: str | os.PathLike[str] | None = None,
    turn_seconds: float = TURN_SECONDS,
    say: Callable[[str], None] = lambda text: None,
) -> Report:
    """Time an artifact and the float nets beside it.

    Args:
        model: the artifact.
        against: peers or families of them; ("none",) for none.
        threads: that each contender may use.
        size: (height, width) of the input; None takes the artifact's first.
        rounds: turns of each contender.
        images: folder of pictures, of which the first few by name are run; None runs noise.
        float_model: an artifact of a float net to run in the peers; None is the float twin of `model`.
        turn_seconds: for a turn.
        say: takes a line of progress.

    Returns:
        The report.

    Raises:
        ArtifactError: a file is no artifact.
        OSError: a file cannot be read.
        ValueError: an argument is out of range, or the net cannot run at this size.
    """
    peers = selected(against)
    check_numbers(threads, rounds)
    graph, tensors = load(model)
    if float_model is not None:
        load(float_model)  # what is wrong with it is said now
    if size is None:
        if graph.resize is None:
            raise ValueError(f"Expected --size H W, since {os.fspath(model)!r} fixes no input size.")
        size = tuple(graph.resize["sizes"][0])
    Session(model).plan(*size)  # said of this file, not of the copy below
    with tempfile.TemporaryDirectory(prefix="bnn_tasks_bench_") as name:
        folder = Path(name)
        artifact = folder / "model.safetensors"
        # A copy for one input size: a detector brings every picture to a declared one.
        rule = Resize((size,)).to_dict() | ({} if graph.resize is None else {"rule": graph.resize["rule"]})
        save(artifact, replace(graph, resize=rule), tensors)
        net = Net(
            Path(model).stem,
            str(artifact),
            os.fspath(artifact if float_model is None else float_model),
            str(folder),
            size,
            graph.detections is not None,
        )
        session = Session(artifact)
        examples = _examples(session, net, images)
        write_examples(net, session, examples)
        found = tuple(len(session([picture])[0]) for picture in examples) if net.detector else ()
        runnable = [peer for peer in peers if missing(peer) is None]
        failures = {}
        if runnable:
            say("building the float twin")
            write_twin(net)
            files = {way["file"] for peer in runnable for way in entry(peer).alternatives if "file" in way}
            failures = write_models(net, [FP32, *files] if files else [], say)
        results = race([net], [OURS, *peers], threads, rounds, folder, turn_seconds, failures, say)
    floats = float_net(graph, tensors)
    bits = sum(tensors[name].nbytes for name in _bit_tensors(graph))
    facts = NetFacts(
        net.name,
        size,
        net.detector,
        artifact_bytes=Path(model).stat().st_size,
        float_bytes=floats.weight_bytes,
        bit_bytes=bits,
        float_bit_bytes=floats.binary_weight_bytes,
        found=found,
        segmenter=graph.class_map is not None,
    )
    return Report.of([facts], results, threads, rounds)


def check_numbers(threads: int, rounds: int) -> None:
    """Raise ValueError unless both are in range."""
    most = cores()
    if not 1 <= threads <= most:
        raise ValueError(f"Expected `threads` to be in [1, {most}], the cores of this machine, but got {threads}.")
    if rounds < 1:
        raise ValueError(f"Expected `repeats` to be at least 1, but got {rounds}.")


def _bit_tensors(graph: Graph) -> set[str]:
    return {node.tensors["weight"] for node in graph.nodes if node.op.startswith("binary_")}


def _examples(session: Session, net: Net, images: str | os.PathLike[str] | None) -> list[np.ndarray]:
    """RGB canvases for a detector, uint8 [H, W, 3], whatever its channels; else inputs, float32 [H, W, C]."""
    channels = session.graph.channels
    if images is None:
        rng = np.random.default_rng(0)
        if net.detector:
            return list(rng.integers(0, 256, (EXAMPLES, *net.size, 3), np.uint8))
        return list(rng.random((EXAMPLES, *net.size, channels), np.float32))
    if channels not in (1, 3):
        raise ValueError(
            f"Expected a net of 1 or 3 channels for --images, but it has {channels}. Cure: without, on noise."
        )
    paths = image_files(Path(images), PICTURES)[:EXAMPLES]  # none of a folder that does not exist
    if not paths:
        raise ValueError(f"Expected --images to be a folder with pictures, but found none in {os.fspath(images)!r}.")
    resize = session.resize
    assert resize is not None
    canvases = [resize.fit(read_image(path), size=net.size)[0] for path in paths]
    return canvases if net.detector else [as_input(canvas, channels) for canvas in canvases]
