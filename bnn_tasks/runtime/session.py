"""Running an artifact."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from bnn_tasks.runtime.engine import Engine
from bnn_tasks.runtime.errors import ArtifactError, GraphError
from bnn_tasks.runtime.format import load
from bnn_tasks.runtime.graph import Node, leaves
from bnn_tasks.runtime.images import to_channels
from bnn_tasks.runtime.layouts import public_shape, to_public
from bnn_tasks.runtime.ops import OPS
from bnn_tasks.runtime.plan import Plan
from bnn_tasks.runtime.resize import Resize
from bnn_tasks.runtime.results import check_results, result_of, scores_of
from bnn_tasks.runtime.segmentation import Segmentation
from bnn_tasks.runtime.sliding import check_overlap, segment


class Session:
    """A network read from an artifact, ready to run on numpy arrays.

    Sessions are independent of each other; of one, calls from several threads wait for each other. After a fork the
    child's sessions go on with threads of their own.

    Args:
        path: the artifact.
        threads: threads that run an image together, 1 to the cores this process may use.

    Raises:
        ArtifactError: the file is damaged, of another kind or version, or breaks a limit.
        OSError: the file cannot be read.
        ValueError: `threads` is out of range.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int = 1) -> None:
        most = cores()
        if type(threads) is not int or not 1 <= threads <= most:
            raise ValueError(
                f"Expected `threads` to be an integer in [1, {most}], the cores that this process may use, but got {threads!r}."
            )
        self.path = os.fspath(path)
        self.threads = threads
        self.graph, tensors = load(path)
        self.engine = Engine(self.path, self.graph, tensors, threads)
        self.outputs = tuple(dict.fromkeys(leaves(self.graph.outputs)))
        try:
            if self.resize is not None:
                check_results(self.graph, self.resize, self.plan)
        except GraphError as error:
            raise ArtifactError(f"{self.path}: {error}") from error

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as what opens it anew: another process has threads and memory of its own."""
        return Session, (self.path, self.threads)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by label."""
        return self.graph.classes

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Nodes in the order they run."""
        return self.graph.nodes

    @property
    def resize(self) -> Resize | None:
        """How images come to the input size; None where the artifact takes tensors only."""
        return None if self.graph.resize is None else Resize.from_dict(self.graph.resize)

    @property
    def peak_bytes(self) -> int:
        """Weights at work and, for the largest declared input size, the most activation bytes alive at once."""
        return self.engine.peak_bytes

    def plan(self, height: int, width: int) -> Plan:
        """Kinds, memory and work at an input size, remembered.

        Args:
            height: pixels, 1 to 8192.
            width: pixels, 1 to 8192.

        Returns:
            The plan.

        Raises:
            ValueError: the network cannot run at this size; says the smallest one where it is too small.
        """
        return self.engine.plan(height, width)

    def __call__(self, images: Sequence[np.ndarray]) -> list[Any]:
        """Detect, segment or classify: resize, network, decode, back to image pixels.

        Args:
            images: (height, width, 3) uint8 RGB each, any sizes; a net of one input channel sees their luma.

        Returns:
            For each image `Detections`, boxes in its own pixels, clipped to it; of a segmenter `Segmentation`, classes of its
            own pixels; of a classifier `Classification`.

        Raises:
            ValueError: the artifact is none of these, or an image is not HWC uint8 RGB.
        """
        resize = self.resize
        if not self.graph.results or resize is None:
            raise ValueError(
                f"{self.path}: Expected a detector, segmenter or classifier, but it is none of these; use `forward`."
            )
        images = list(images)  # an iterator is read once
        for index, image in enumerate(images):
            _check_image(index, image)
        found: list[Any] = []
        for image in images:
            canvas, placement = resize.fit(image)
            values = self.engine.run(to_channels(canvas, self.graph.channels), self.graph.results)
            found.append(result_of(self.graph, [values[name] for name in self.graph.results], placement))
        return found

    def segment_windows(self, image: np.ndarray, overlap: float = 0.25) -> Segmentation:
        """Segment a picture at its own scale, in overlapping windows of the input size.

        A pixel's class is the argmax of the mean of the windows' probabilities, the softmax of the scores at the input's
        size. A picture that is no larger than one window is segmented as by a call: resized to the window.

        Args:
            image: (height, width, 3) uint8 RGB; windows are of the declared size whose aspect ratio is nearest to its.
            overlap: share of a window's side that neighbours overlap by at least, in [0, 1).

        Returns:
            Classes of the image's own pixels.

        Raises:
            ValueError: the artifact is no segmenter, the image is not HWC uint8 RGB or too large, `overlap` is out of range, or
                a score is infinite or NaN.
        """
        resize = self.resize
        if self.graph.class_map is None or resize is None:
            raise ValueError(f"{self.path}: Expected a segmenter, but it is none. Cure: call the session on the image.")
        _check_image(0, image)
        check_overlap(overlap)
        size, scores = resize.bucket(*image.shape[:2]), scores_of(self.graph)
        if image.shape[0] <= size[0] and image.shape[1] <= size[1]:
            found: Segmentation = self([image])[0]
            return found

        def run(canvas: np.ndarray) -> np.ndarray:
            made: np.ndarray = self.engine.run(to_channels(canvas, self.graph.channels), [scores])[scores]
            if not np.isfinite(made).all():  # of these no softmax is a probability
                raise ValueError(
                    f"{self.path}: value `{scores}`: Expected scores to be finite, but some are not; look for it upstream."
                )
            return made

        return Segmentation(segment(image, resize, size, overlap, run))

    def forward(self, x: np.ndarray) -> Any:
        """The network's raw outputs, nested as the module returned them.

        Args:
            x: (N, C, H, W) float32; RGB in [0, 1] for models; any H, W that the network can take.

        Returns:
            Nested dicts and lists of float32 arrays: (N, C, H, W) maps, (N, C) vectors, (N, M, 4) boxes.

        Raises:
            ValueError: `x` has another shape or dtype, is too small, or meets a sign as NaN.
        """
        channels = self.graph.channels
        if not isinstance(x, np.ndarray) or x.dtype != np.float32 or x.ndim != 4 or x.shape[1] != channels:
            got = f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
            raise ValueError(f"Expected `x` to be a float32 array of shape (N, {channels}, H, W), but got {got}.")
        kinds = self.plan(*x.shape[2:]).kinds
        stacked = {
            name: np.empty((len(x), *public_shape(kinds[name])), np.float32) for name in leaves(self.graph.outputs)
        }
        for index, image in enumerate(x):
            values = self.engine.run(image.transpose(1, 2, 0), self.outputs)
            for name, array in stacked.items():
                array[index] = to_public(values[name], kinds[name])
        return _nest(self.graph.outputs, stacked)

    def class_map(self, x: np.ndarray) -> np.ndarray:
        """A segmenter's classes of one input, as a call would find them on the canvas.

        Args:
            x: (C, H, W) float32, RGB in [0, 1] for models.

        Returns:
            (H, W) uint8.

        Raises:
            ValueError: the artifact is no segmenter; else as `forward`.
        """
        if self.graph.class_map is None:
            raise ValueError(f"{self.path}: Expected a segmenter, but it is none. Cure: `forward`.")
        self._check_input(x)
        made: np.ndarray = self.engine.run(x.transpose(1, 2, 0), [self.graph.class_map])[self.graph.class_map]
        return made

    def values(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Every value of the graph for one image, the input included; for verification.

        Args:
            x: (C, H, W) float32.

        Returns:
            Value name to array: float32 (C, H, W) maps and (C,) vectors, bits the same as int8 ±1, boxes (M, 4), a
            class map uint8 (H, W).

        Raises:
            ValueError: as `forward`.
        """
        self._check_input(x)
        kinds = self.plan(*x.shape[1:]).kinds
        everything = [self.graph.input_name, *(value for node in self.nodes for value in node.outputs)]
        values = self.engine.run(x.transpose(1, 2, 0), everything)
        return {name: to_public(value, kinds[name]) for name, value in values.items()}

    def _check_input(self, x: Any) -> None:
        if not isinstance(x, np.ndarray) or x.dtype != np.float32 or x.ndim != 3 or x.shape[0] != self.graph.channels:
            raise ValueError(f"Expected `x` to be a float32 array of shape ({self.graph.channels}, H, W).")

    def accumulate(self, node_name: str, signs: np.ndarray) -> np.ndarray:
        """Raw accumulators Σ w·a of one binary layer.

        Args:
            node_name: of a binary node.
            signs: its input, int8 ±1: (C, H, W), or (C,) for a linear layer; of a binary_patches node -1, 0, +1.

        Returns:
            Int32 (O, H', W'), or (O,).

        Raises:
            ValueError: no such binary node, or `signs` does not fit it.
        """
        binary = {node.name: node for node in self.nodes if OPS[node.op].binary}
        if node_name not in binary:
            raise ValueError(f"Expected `node_name` to be one of {list(binary)}, but got {node_name!r}.")
        return self.engine.accumulate(binary[node_name], signs)

    def warm_up(self, size: tuple[int, int] | None = None) -> None:
        """Compile, or read from the cache, every kernel the network needs, by running it on zeros.

        Args:
            size: (height, width), pixels; None takes the first declared size.

        Raises:
            ValueError: the artifact declares no size and none is given.
        """
        if size is None and self.graph.resize is None:
            raise ValueError(f"{self.path}: Expected `size`, since the artifact declares none.")
        height, width = size if size is not None else self.graph.resize["sizes"][0]  # type: ignore[index]
        self.plan(height, width)
        image = np.zeros((height, width, self.graph.channels), np.float32)
        self.engine.run(image, self.outputs)
        self.engine.run(image, self.graph.results)


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # Windows and macOS
        return os.cpu_count() or 1


def _check_image(index: int, image: Any) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"Expected image {index} to be HWC uint8 RGB, as `read_image` gives it, but got {got}.")
    if image.size == 0:
        raise ValueError(f"Expected image {index} to have pixels, but got shape {image.shape}.")


def _nest(outputs: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(outputs, str):
        return arrays[outputs]
    if isinstance(outputs, dict):
        return {key: _nest(item, arrays) for key, item in outputs.items()}
    return [_nest(item, arrays) for item in outputs]
