"""What a contender is to the worker process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from bnn_tasks.bench.ending import Ending
from bnn_tasks.bench.material import Net, as_input, read_actual, read_examples, read_fed, read_given
from bnn_tasks.runtime import Resize
from bnn_tasks.runtime.format import load

FEWEST = 3  # passes in a turn


@dataclass(frozen=True)
class Contender:
    """Ready to be timed.

    Attributes:
        run: one pass over the example of this number; what is timed.
        outputs: raw outputs of the first example, (1, …), for the check; not timed.
        about: what a reader of the figure should know.
        measure: instead of timing `run`, measures for about so many seconds and says seconds a pass.
        clock: seconds of the pass that has just run, by the engine's own clock, without the call from Python.
        limit: measures operations a second that its threads could do at most; asked after each turn.
    """

    run: Callable[[int], Any]
    outputs: Callable[[], list[np.ndarray]]
    about: dict[str, str] = field(default_factory=dict)
    measure: Callable[[float], list[float]] | None = None
    clock: Callable[[], float] | None = None
    limit: Callable[[], float] | None = None


class FloatModel(Protocol):
    """A float net in somebody's engine."""

    about: dict[str, str]

    def feed(self, image: np.ndarray, given: Sequence[np.ndarray]) -> Any:
        """The engine's input for a float32 [H, W, C] image, and for what is given besides, (1, C, H, W) each."""

    def infer(self, fed: Any) -> list[np.ndarray]:
        """Raw outputs, (1, …) each."""


def framed(net: Net, model: FloatModel) -> Contender:
    """A float model with what a user has around it.

    A tensor's net is timed from the engine's own input to raw outputs. A detector is timed from picture to detections:
    the runtime's resize, its luma for one channel, and division by 255 (no normalisation: that is the model's gain), the
    engine, and the runtime's own decoding and suppression, on the artifact's raw outputs for the same picture, since a float
    net of drawn weights finds nothing. Copying the engine's outputs to the layout of the decoding is left out, which again is
    the model's gain. So is the wait of a second stage for the first: its head runs in the same call, on the artifact's own
    features of regions.
    """
    examples = read_examples(net)
    given = [read_given(net, index) for index in range(len(examples))]
    inputs = read_fed(net)
    fed = [model.feed(x, besides) for x, besides in zip(inputs, given, strict=True)]

    def outputs() -> list[np.ndarray]:
        return [np.array(y) for y in model.infer(fed[0])]

    if not net.detector:
        return Contender(lambda index: model.infer(fed[index]), outputs, model.about)

    graph, tensors = load(net.artifact)
    actual = [read_actual(net, index) for index in range(len(examples))]
    ending = Ending(graph, tensors, actual[0], net.size)
    resize, channels = Resize((net.size,)), inputs[0].shape[2]

    def detect(index: int) -> Any:
        canvas, placement = resize.fit(examples[index])
        model.infer(model.feed(as_input(canvas, channels), given[index]))
        found = ending(actual[index])
        return placement.to_image(found.boxes)

    return Contender(detect, outputs, model.about)
