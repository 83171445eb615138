"""A trained task out of a checkpoint of ``bnn-tasks fit``, without running code in the file."""

import os
import re
import warnings
from typing import Any

import lightning as L
import torch

from bnn_tasks.tasks.base import Task

INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"
UNION = "Does not validate against any of the Union subtypes"
GIVEN = r"Given value: (N|[{\[].*class_path)"  # nothing, or a dump of all that the config says there
FORMS = r"Subclass types expect one of|a class path \(str\)|a dict with"  # of naming a class, after why the given one is none
NOISE = re.compile(rf"[ -]*({UNION}|Subtypes: |Errors:|Expected a <class 'NoneType'>|Given value type|{GIVEN}|{FORMS})")
# In a line: the type of a constructor that a config names, and the dump of what it was given.
DUMP = re.compile(r"Type \S.*? expects a function or a callable class: | ?Got value: (Namespace|NestedArg)\(.*")
CLASS = re.compile(r"<class '([\w.]+)'>")


def readable(message: str) -> str:
    """jsonargparse's list of why no type fits as the reasons alone, without types and values; another message as it is.

    Args:
        message: of an error.
    """
    if UNION not in message:
        return message
    lines = (DUMP.sub("", line).strip().removeprefix("- ") for line in message.splitlines() if not NOISE.match(line))
    return CLASS.sub(r"\1", " ".join(lines))


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A checkpoint of ``bnn-tasks fit`` as a dictionary, with its entry ``bnn_tasks`` (class names, resize rule).

    Args:
        path: the file; loaded with ``weights_only``, so no code in it can run.

    Raises:
        ValueError: the file is no such checkpoint.
    """
    name = os.fspath(path)
    with open(path, "rb") as file:
        try:
            with warnings.catch_warnings(action="ignore"):  # torch's, of a file's format, is said below
                checkpoint = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises a dozen kinds, and for some of them advises to run the file's code
            raise ValueError(
                f"Expected {name!r} to be a checkpoint that `bnn-tasks fit` wrote, but it is damaged, of another kind, or "
                f"holds code ({type(error).__name__}). Cure: name a .ckpt file of a fit run."
            ) from error
    entry = checkpoint.get("bnn_tasks") if isinstance(checkpoint, dict) else None
    if not isinstance(entry, dict) or not {"classes", "resize"} <= entry.keys() or "hyper_parameters" not in checkpoint:
        raise ValueError(
            f"Expected {name!r} to be a checkpoint that `bnn-tasks fit` wrote, but it lacks class names and hyperparameters. "
            "Cure: name a .ckpt file of a fit run."
        )
    return checkpoint


def check_fit(path: str | os.PathLike[str], task: Task) -> None:
    """Raise ValueError unless a checkpoint's classes are those of the data, and its weights those of the net that it describes.

    Args:
        path: a checkpoint of ``bnn-tasks fit``.
        task: what it is to be loaded into: built from the checkpoint's own settings, with the data's classes.

    Raises:
        ValueError: naming the classes, or the first tensor that differs.
    """
    checkpoint, name = load_checkpoint(path), os.fspath(path)
    classes = checkpoint["bnn_tasks"]["classes"]
    if classes != task.classes:
        raise ValueError(f"Expected {name!r} to be trained on the data's classes {task.classes}, but it has {classes}.")
    saved = {key: tuple(tensor.shape) for key, tensor in checkpoint["state_dict"].items()}
    own = {key: tuple(tensor.shape) for key, tensor in task.state_dict().items()}
    for key in [*own, *saved]:
        if saved.get(key) != own.get(key):
            raise ValueError(
                f"Expected {name!r} to hold the weights of the net that its settings describe, but its {key!r} is "
                f"{saved.get(key, 'missing')}, not {own.get(key, 'part of the net')}. Cure: another checkpoint, or the version "
                "of bnn_tasks that wrote it."
            )


def load_task(path: str | os.PathLike[str]) -> Task:
    """A trained task from a checkpoint of ``bnn-tasks fit``, without knowing its class, in eval mode.

    Args:
        path: the checkpoint.

    Raises:
        ValueError: the file is no such checkpoint.
    """
    settings = load_checkpoint(path)["hyper_parameters"]
    # Lightning calls whatever function a checkpoint names here; only the command line's own is known.
    if settings.get("_instantiator", INSTANTIATOR) != INSTANTIATOR:
        raise ValueError(f"Expected {os.fspath(path)!r} to be built by {INSTANTIATOR}, but it names another function.")
    try:
        # Called on our own base class, Lightning would drop the checkpoint's class path.
        task = L.LightningModule.load_from_checkpoint(os.fspath(path), map_location="cpu", weights_only=True)
    except (RuntimeError, TypeError, KeyError, ValueError, AttributeError, SystemExit) as error:
        raise ValueError(
            f"Expected the weights and the settings in {os.fspath(path)!r} to be of one task, but: "
            + " ".join(readable(str(error)).split())[:500]
        ) from error
    if not isinstance(task, Task):
        raise ValueError(
            f"Expected {os.fspath(path)!r} to hold a task of this package, but it is a {type(task).__name__}."
        )
    return task.eval()
