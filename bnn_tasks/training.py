"""Lightning's command line over this package's tasks and data, and what needs a trained or trainable task built."""

import argparse
import logging
import os
import signal
import sys
import warnings
from typing import Any

import torch
from jsonargparse import ArgumentError
from lightning.pytorch import seed_everything
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

# Imported so that a config may say `class_path: DetectionTask`.
from bnn_tasks import backbones, callbacks, data, models, robustness, tasks  # noqa: F401
from bnn_tasks.binary.profile import format_table
from bnn_tasks.binary.profile import profile as profile_module
from bnn_tasks.callbacks.checkpoint import LastCheckpoint, last_checkpoint
from bnn_tasks.data import ClassificationData, DetectionData, ImageData, SegmentationData
from bnn_tasks.export import ExportReport, export
from bnn_tasks.models.detector import Detector, input_channels
from bnn_tasks.named_classes import known_names, own_defaults
from bnn_tasks.runtime import Resize
from bnn_tasks.tasks import ClassificationTask, DetectionTask, SegmentationTask, Task
from bnn_tasks.tasks.checkpoint import check_fit, load_checkpoint, load_task, readable
from bnn_tasks.tasks.robustness.evaluation_task import EvaluationTask

_log = logging.getLogger(__name__)

# Said by Lightning 2.6 on every run, about itself.
for message in (
    ".*LeafSpec.*",
    ".*not supported by the model summary.*",
    ".*does not have many workers.*",
    ".*args parameter is intended to run from within Python.*",
    ".*tensorboardX.*",
    ".*Using `DistributedSampler` with the dataloaders.*",  # our samplers show every image once
    ".*WeightAveraging callback, but loading a checkpoint outside the 'fit' stage.*",  # whose weights are the averages
):
    warnings.filterwarnings("ignore", message=message)

own_defaults()
known_names()


KINDS: tuple[tuple[type[Task], type[ImageData]], ...] = (  # a task reads the batches of its data alone
    (ClassificationTask, ClassificationData),
    (DetectionTask, DetectionData),
    (SegmentationTask, SegmentationData),
)


class TrainingCLI(LightningCLI):
    """Config in, trained task out; the class names go from the data to the task. SIGTERM ends the process with status 143.

    Args:
        arguments: verb and options; None is sys.argv's.
        run: whether to run the verb; else the options stand alone and trainer, task and data are only built.

    Raises:
        ValueError: an option is refused, by us or by Lightning.
    """

    def __init__(self, arguments: list[str] | None = None, run: bool = True) -> None:
        self._run = run
        try:
            super().__init__(
                Task,
                ImageData,
                subclass_mode_model=True,
                subclass_mode_data=True,
                seed_everything_default=0,
                save_config_kwargs={"overwrite": True},
                auto_configure_optimizers=False,
                parser_kwargs={"exit_on_error": False},
                args=arguments,
                run=run,
            )
        except MisconfigurationException as error:
            raise ValueError(str(error)) from error
        except SIGTERMException:  # Lightning's would end the process with status 0, as if it had finished
            if self.trainer.is_global_zero:
                print(f"bnn-tasks {self.subcommand}: stopped by SIGTERM{self._way_on()}", file=sys.stderr)
            sys.exit(128 + signal.SIGTERM)

    def _way_on(self) -> str:
        if self.subcommand != "fit":
            return "."
        own = [part for part in self.trainer.callbacks if isinstance(part, LastCheckpoint)]  # type: ignore[attr-defined]
        path = next((part.written for part in own if part.written), self.config["fit"]["ckpt_path"])
        return " before its first checkpoint." if path is None else f". To go on: --ckpt_path {path}"

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link the data's class names to the task; without a verb, accept what a verb's saved config says besides."""
        parser.link_arguments("data.class_names", "model.init_args.classes", apply_on="instantiate")
        if not self._run:
            for name in ("ckpt_path", "weights_only", "verbose", "return_predictions"):
                parser.add_argument(f"--{name}", type=Any, help=argparse.SUPPRESS)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Put the file's name in the place of the checkpoint `last`; refuse Lightning's other words.

        Raises:
            ValueError: an option is refused, or there is no such checkpoint.
        """
        try:
            super().parse_arguments(parser, args)
        except ArgumentError as error:
            raise ValueError(readable(str(error))) from error
        options = self.config[self.config.subcommand] if self._run else {}
        if self._run and self.config.subcommand == "predict":
            options["return_predictions"] = bool(options["return_predictions"])  # a set's masks may not fit into memory
        if options.get("ckpt_path") is not None:
            options["ckpt_path"] = find_checkpoint(options["ckpt_path"], options["trainer"]["default_root_dir"] or "")
            load_checkpoint(options["ckpt_path"])  # which says what is wrong with a file before Lightning reads it

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
        """Refuse data of another task, images of other channels than the model's, and a checkpoint that does not fit.

        Raises:
            ValueError: one of them, or a trainer's option that Lightning accepts and fails with.
        """
        path = None if self.subcommand is None else self.config[self.subcommand].get("ckpt_path")
        if any(isinstance(self.model, task) and not isinstance(self.datamodule, kind) for task, kind in KINDS):
            raise ValueError(
                f"Expected task and data of one kind, but got {type(self.model).__name__}"
                f"{'' if path is None else f' (of {path!r})'} and {type(self.datamodule).__name__}. Cure: the config"
                f"{' of the other kind' if path is None else ' that the checkpoint was trained with'}."
            )
        if self.trainer.accumulate_grad_batches < 1:
            raise ValueError(
                f"Expected trainer.accumulate_grad_batches to be >= 1, but got {self.trainer.accumulate_grad_batches}."
            )
        if (channels := input_channels(self.model.model)) != self.datamodule.channels:
            raise ValueError(
                f"Expected the data's images to have the model's {channels} channel(s), but got {self.datamodule.channels}. "
                "Cure: `channels` of the data, or `in_channels` of the backbone and `normalize` with as many values."
            )
        if path is not None:
            check_fit(path, self.model)
        elif self.subcommand in ("validate", "test", "predict") and not isinstance(self.model, EvaluationTask):
            _log.warning("no --ckpt_path: the net is used as it was built. Cure: --ckpt_path last, or a file.")

    def before_instantiate_classes(self) -> None:
        """Load checkpoints without running code in them, whatever Lightning's default."""
        if self.subcommand is not None:
            self.config[self.subcommand]["weights_only"] = True

    def before_fit(self) -> None:
        """Seed a resumed fit with seed + steps done: with the seed alone it would draw the first epochs' numbers once more."""
        options = self.config["fit"]
        if options["ckpt_path"] is None or options["seed_everything"] is False:
            return
        step = load_checkpoint(options["ckpt_path"])["global_step"]
        seed = (options["seed_everything"] + step) % 2**32
        seed_everything(seed, workers=True, verbose=False)
        _log.info("resuming after step %d: order and augmentation are drawn anew, from seed %d", step, seed)


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


def profile_training(path: str, size: tuple[int, int] | None) -> str:
    """The per-layer table of a config's or a checkpoint's model.

    Args:
        path: .yaml config or .ckpt checkpoint.
        size: (H, W) of the input, >= 1; None is the first size it is trained at.

    Raises:
        ValueError: `size` is out of range.
    """
    if size is not None and min(size) < 1:
        raise ValueError(f"Expected --size to be two sides >= 1 px, but got {size[0]} {size[1]}.")
    if path.endswith((".yaml", ".yml")):
        cli = TrainingCLI(["--config", path], run=False)
        task, sizes = cli.model, cli.datamodule.resize.sizes
    else:
        task, sizes = load_task(path), load_checkpoint(path)["bnn_tasks"]["resize"]["sizes"]
    height, width = size or sizes[0]
    model, example = task.model, torch.rand(1, input_channels(task.model), height, width)
    if isinstance(model, Detector):  # a second stage runs when boxes are decoded
        return format_table(profile_module(model, example, lambda x: model.decode(model(x), (height, width))))
    return format_table(profile_module(model, example))


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
    model = load_task(path).model
    example = torch.rand(2, input_channels(model), height, width, generator=torch.Generator().manual_seed(0))
    return export(model, out, example=example, classes=entry["classes"], resize=resize)
