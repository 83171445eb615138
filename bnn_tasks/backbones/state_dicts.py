"""Float checkpoints as they come: a file, a wrapper around the dictionary that is meant, a prefix before every name."""

import os
from collections.abc import Mapping

import torch
from torch import Tensor


def check_names(state: Mapping[str, object], first: str, second: str) -> None:
    """Raise ValueError where the dictionary is a wrapper of the one that is meant, or a wrapper's.

    Args:
        state: names to tensors.
        first: name of the first convolution's weight.
        second: name of another tensor of every such network.
    """
    inner = [name for name, value in state.items() if isinstance(value, dict)]
    if inner:
        raise ValueError(f"Expected `state` to map names to tensors, but it maps {inner}. Cure: state[{inner[0]!r}].")
    prefix = min((name.removesuffix(first) for name in state if name.endswith(f".{first}")), key=len, default="")
    if first not in state and f"{prefix}{second}" in state:
        raise ValueError(
            f"Expected names as {first!r}, but they start with {prefix!r}. Cure: "
            f"{{name.removeprefix({prefix!r}): tensor for name, tensor in state.items()}}."
        )


def check_channels(name: str, weight: Tensor, channels: int) -> None:
    """Raise ValueError where the first convolution is for images of other channels.

    Args:
        name: of its weight in the checkpoint.
        weight: in the checkpoint, (out, in, h, w).
        channels: of the backbone's images.
    """
    if weight.shape[1] != channels:
        raise ValueError(
            f"Expected {name!r} for {channels} channel(s), but got one for {weight.shape[1]}. Cure for grey "
            f"pictures: state[{name!r}] = state[{name!r}].sum(1, keepdim=True)."
        )


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """What ``torch.save(model.state_dict(), path)`` wrote.

    Args:
        path: the file; loaded with ``weights_only``, so no code in it can run.

    Raises:
        ValueError: the file is not a dictionary of tensors.
    """
    name = os.fspath(path)
    with open(path, "rb") as file:
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises a dozen kinds, and for some of them advises to run the file's code
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
