"""The first of two stages: any method's activations with real weights."""

from dataclasses import replace

from bnn_tasks.binary.methods.method import Method
from bnn_tasks.binary.methods.registry import get_method
from bnn_tasks.binary.weights import RealWeight


def with_real_weights(method: str | Method) -> Method:
    """The method with its weights left real: stage one of two (Martinez et al., 2020; Liu et al., ReActNet, 2020).

    Stage one binarises the activations alone; stage two, the method itself, starts from its weights (callback `ModelWeights`).
    A layer of stage one refuses to state its terms, and so to be exported. In a config::

        method: {class_path: bnn_tasks.binary.with_real_weights, init_args: {method: react}}

    Args:
        method: a registered method's name or a `Method`.

    Raises:
        ValueError: the method is unknown, or leaves activations real: nothing would be binary.
    """
    found = get_method(method)
    if not found.binary_activations:
        raise ValueError(
            f"Expected `method` to binarise activations, but got {found.name!r}, which binarises weights only. "
            "Cure: a method such as 'react', or a block of real convolutions."
        )
    return replace(
        found,
        name=f"{found.name} with real weights",
        weight=lambda shape: RealWeight(),
        paper=f"{found.paper}; first of two stages",
        in_survey=False,
    )
