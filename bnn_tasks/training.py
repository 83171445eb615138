"""Lightning's command line over this package's tasks and data, and what needs a trained or trainable task built."""

import argparse
import os
import re
import warnings
from typing import Any

import lightning as L
import torch
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

# Imported so that a config may say `class_path: DetectionTask`.
from bnn_tasks import backbones, callbacks, data, models, tasks  # noqa: F401
from bnn_tasks.binary.profile import format_table
from bnn_tasks.binary.profile import profile as profile_module
from bnn_tasks.callbacks.checkpoint import last_checkpoint
from bnn_tasks.data import ImageData
from bnn_tasks.export import ExportReport, export
from bnn_tasks.runtime import Resize
from bnn_tasks.tasks import Task

# Said by Lightning 2.6 on every run, about itself.
for message in (
    ".*LeafSpec.*",
    ".*not supported by the model summary.*",
    ".*does not have many workers.*",
    ".*args parameter is intended to run from within Python.*",
    ".*tensorboardX.*",
):
    warnings.filterwarnings("ignore", message=message)


INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"
UNION = "Does not validate against any of the Union subtypes"
NOISE = re.compile(rf"[ -]*({UNION}|Subtypes: |Errors:|Expected a <class 'NoneType'>|Given value)")


class TrainingCLI(LightningCLI):
    """Config in, trained task out; the class names go from the data to the task.

    Args:
        arguments: verb and options; None is sys.argv's.
        run: whether to run the verb; else the options stand alone and trainer, task and data are only built.
    """

    def __init__(self, arguments: list[str] | None = None, run: bool = True) -> None:
        self._run = run
        super().__init__(
            Task,
            ImageData,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            auto_configure_optimizers=False,
            args=arguments,
            run=run,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link the data's class names to the task; without a verb, accept what a verb's saved config says besides."""
        parser.link_arguments("data.class_names", "model.init_args.classes", apply_on="instantiate")
        if not self._run:
            for name in ("ckpt_path", "weights_only", "verbose", "return_predictions"):
                parser.add_argument(f"--{name}", type=Any, help=argparse.SUPPRESS)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Put the file's name in the place of the checkpoint `last`; refuse Lightning's other words."""
        super().parse_arguments(parser, args)
        options = self.config[self.config.subcommand] if self._run else {}
        if options.get("ckpt_path") is not None:
            options["ckpt_path"] = find_checkpoint(options["ckpt_path"], options["trainer"]["default_root_dir"] or "")

    def instantiate_classes(self) -> None:
        """Build trainer, task and data; what one of them refuses is said without jsonargparse's dump of types and values.

        Raises:
            ValueError: an argument is refused.
        """
        try:
            super().instantiate_classes()
        except ValueError as error:
            raise ValueError(readable(str(error))) from error

    def after_instantiate_classes(self) -> None:
        """Refuse a checkpoint of another model before anything runs."""
        path = None if self.subcommand is None else self.config[self.subcommand].get("ckpt_path")
        if path is not None:
            check_fit(path, self.model)

    def before_instantiate_classes(self) -> None:
        """Load checkpoints without running code in them, whatever Lightning's default."""
        if self.subcommand is not None:
            self.config[self.subcommand]["weights_only"] = True


def find_checkpoint(name: str, root: str) -> str:
    """The file that ``--ckpt_path`` names.

    Args:
        name: of a file; or ``last``, for the one that a fit below `root` wrote last.
        root: the trainer's ``default_root_dir``.

    Raises:
        ValueError: there is none.
    """
    path = str(last_checkpoint(root)) if name == "last" else name
    if not os.path.isfile(path):
        raise ValueError(
            f"Expected --ckpt_path {name} to be a checkpoint, but there is no file {path!r}. Cure: a .ckpt file of a fit run, "
            "or `last`: what its callback LastCheckpoint wrote below --trainer.default_root_dir."
        )
    return path


def readable(message: str) -> str:
    """jsonargparse's list of why no type fits as the reasons alone, without types and values; another message as it is.

    Args:
        message: of an error.
    """
    if not message.startswith(UNION):
        return message
    return " ".join(line.strip().removeprefix("- ") for line in message.splitlines() if not NOISE.match(line))


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
    """Raise ValueError unless a checkpoint's classes and weights are those of a task.

    Args:
        path: a checkpoint of ``bnn-tasks fit``.
        task: what it is to be loaded into.

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
                f"Expected {name!r} to be of this model, but its {key!r} is {saved.get(key, 'missing')}, not "
                f"{own.get(key, 'part of the model')}. Cure: the config that the checkpoint was trained with."
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


def profile_training(path: str, size: tuple[int, int] | None) -> str:
    """The per-layer table of a config's or a checkpoint's model.

    Args:
        path: .yaml config or .ckpt checkpoint.
        size: (H, W) of the input; None is the first size it is trained at.
    """
    if path.endswith((".yaml", ".yml")):
        cli = TrainingCLI(["--config", path], run=False)
        task, sizes = cli.model, cli.datamodule.resize.sizes
    else:
        task, sizes = load_task(path), load_checkpoint(path)["bnn_tasks"]["resize"]["sizes"]
    height, width = size or sizes[0]
    return format_table(profile_module(task.model, torch.rand(1, 3, height, width)))


def export_checkpoint(path: str, out: str, size: tuple[int, int] | None) -> ExportReport:
    """Export a checkpoint of ``bnn-tasks fit``.

    Args:
        path: the checkpoint.
        out: the artifact to write.
        size: (H, W) of the input; None keeps the sizes of training.

    Raises:
        ValueError: the checkpoint is not one of ``bnn-tasks fit``, a layer cannot be exported, or `size` is out of range.
    """
    entry = load_checkpoint(path)["bnn_tasks"]
    if entry["resize"] is None:
        raise ValueError(
            f"Expected {path!r} to say the input size, but it was trained without a data module. "
            "Cure: bnn_tasks.export.export(model, path, example=..., classes=..., resize=Resize(...))."
        )
    resize = Resize.from_dict(entry["resize"])
    if size is not None:
        resize = Resize((size,), resize.rule)
    height, width = resize.sizes[0]
    example = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    return export(load_task(path).model, out, example=example, classes=entry["classes"], resize=resize)
