"""What a graph's results are to its user: checked when it is opened, made of an image's values."""

from collections.abc import Callable
from typing import Any

import numpy as np

from bnn_tasks.runtime.classification import Classification
from bnn_tasks.runtime.detection import Detections
from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.graph import Graph
from bnn_tasks.runtime.kinds import ClassMap, FloatMap
from bnn_tasks.runtime.layouts import public_shape
from bnn_tasks.runtime.plan import Plan
from bnn_tasks.runtime.resize import Placement, Resize
from bnn_tasks.runtime.segmentation import Segmentation, to_picture


def check_results(graph: Graph, resize: Resize, plan: Callable[[int, int], Plan]) -> None:
    """Every class has a name, and a class map the input's size: the schema knows no sizes.

    Args:
        graph: read strictly.
        resize: its input sizes.
        plan: of an input size.

    Raises:
        GraphError: one of the two does not hold.
    """
    for size in resize.sizes:
        kinds = plan(*size).kinds
        if graph.probabilities is not None:
            (count,) = public_shape(kinds[graph.probabilities])
            _check_count(graph, graph.probabilities, count)
        if graph.class_map is not None:
            made, scores = kinds[graph.class_map], kinds[scores_of(graph)]
            assert isinstance(made, ClassMap)
            assert isinstance(scores, FloatMap)
            _check_count(graph, graph.class_map, scores.channels)
            if made.shape != size:
                raise GraphError(
                    f"Expected `{graph.class_map}` to have the input's size, {size[0]}×{size[1]}, but got "
                    f"{made.height}×{made.width}."
                )


def _check_count(graph: Graph, value: str, count: int) -> None:
    if count != len(graph.classes):
        raise GraphError(f"Expected `classes` to name the {count} classes of `{value}`, but got {len(graph.classes)}.")


def scores_of(graph: Graph) -> str:
    """The value that a segmenter's class map is the argmax of, a float map."""
    return next(node.inputs[0] for node in graph.nodes if graph.class_map in node.outputs)


def result_of(graph: Graph, values: list[np.ndarray], placement: Placement) -> Any:
    """A picture's `Detections`, `Segmentation` or `Classification`.

    Args:
        graph: with results.
        values: of `graph.results`, on the canvas.
        placement: where the picture lies on it.
    """
    if graph.detections is not None:
        boxes, scores, labels = values
        return Detections(placement.to_image(boxes), scores, labels)
    if graph.class_map is not None:
        return Segmentation(to_picture(values[0], placement, (placement.height, placement.width)))
    return Classification(values[0])
