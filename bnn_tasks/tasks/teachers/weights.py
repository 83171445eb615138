"""A teacher's weights from a local file."""

import os
from collections.abc import Mapping

import torch
from safetensors.torch import load_file
from torch import Size, Tensor


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """A state_dict from a file.

    Args:
        path: ``.safetensors``, or what ``torch.save(model.state_dict(), path)`` wrote; loaded with ``weights_only``, so no
            code in it can run.

    Raises:
        ValueError: there is no such file, or it holds no state_dict.
    """
    name = os.fspath(path)
    if not os.path.isfile(name):
        raise ValueError(
            f"Expected the teacher's weights in {name!r}, but there is no such file. Cure: correct the path."
        )
    try:
        state = load_file(name) if name.endswith(".safetensors") else _load(name)
    except Exception as error:  # torch and safetensors raise a dozen kinds
        raise ValueError(
            f"Expected {name!r} to hold a state_dict, but it is damaged, of another kind, or holds code "
            f"({type(error).__name__}). Cure: torch.save(model.state_dict(), path)."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(
            f"Expected {name!r} to hold a state_dict (names to tensors), but it does not. "
            "Cure: save the inner dictionary, for instance torch.load(path)['state_dict'], to a file of its own."
        )
    return state


def _load(name: str) -> object:
    return torch.load(name, map_location="cpu", weights_only=True)


def check_weights(state: Mapping[str, Tensor], shapes: Mapping[str, Size], name: str, source: str) -> None:
    """Raise unless a state_dict has every tensor of a net, in its shape; it may have more, a classifier for instance.

    Args:
        state: the state_dict.
        shapes: of the net's tensors, by name.
        name: of the net, for the message.
        source: of the weights, for the message.

    Raises:
        ValueError: naming the first tensor that differs.
    """
    for key, shape in shapes.items():
        if key.endswith("num_batches_tracked"):  # checkpoints from before torch 0.4.1 lack BatchNorm's counter
            continue
        if key not in state or state[key].shape != shape:
            found = f"is {tuple(state[key].shape)}" if key in state else "is missing"
            raise ValueError(
                f"Expected {source!r} to hold the weights of {name!r}, but its {key!r} {found}, not {tuple(shape)}. "
                "Cure: name the net that the file was trained as."
            )
