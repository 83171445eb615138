"""A teacher's weights from a local file."""

import os
from collections.abc import Mapping

from safetensors.torch import load_file
from torch import Size, Tensor

from bnn_tasks.backbones.state_dicts import read_state_dict


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
    if not name.endswith(".safetensors"):
        return read_state_dict(path)
    try:
        state: dict[str, Tensor] = load_file(name)
    except Exception as error:  # safetensors and the file system raise their own
        raise ValueError(
            f"Expected {name!r} to hold a state_dict, but it is damaged or of another kind ({error}). "
            "Cure: safetensors.torch.save_file(model.state_dict(), path)."
        ) from error
    return state


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
