"""The ``bnn-tasks`` command: Lightning's verbs for training, and verbs of our own, of which ``run`` needs no torch."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

TRAINING_VERBS = ("fit", "validate", "test", "predict")


def _first_line(verb: Callable[..., object]) -> str:
    return (verb.__doc__ or "").partition("\n")[0].replace("``", "")


def _show_notes() -> None:
    """Let what the package logs for its user, such as which pictures became the test split, reach stderr."""
    log = logging.getLogger("bnn_tasks")
    log.setLevel(logging.INFO)
    if not log.hasHandlers():
        log.addHandler(logging.StreamHandler())


def _reason(error: Exception) -> str:
    """What an error says; of one that a data loader's process raised, without the traceback that torch puts before it."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    text = str(error)
    return text.rpartition(f"\n{name}: ")[2].strip() if " in DataLoader worker process " in text else text


def train(arguments: Sequence[str]) -> None:
    """``bnn-tasks fit|validate|test|predict --config FILE [--ckpt_path FILE]``, Lightning's command line.

    Args:
        arguments: the words after ``bnn-tasks``.
    """
    from bnn_tasks.training import TrainingCLI

    # Given the same words as the process, Lightning would warn that they came from within Python.
    TrainingCLI(None if list(arguments) == sys.argv[1:] else list(arguments))


def check_data(arguments: Sequence[str]) -> int:
    """``bnn-tasks check-data --config FILE``: read the whole set, list everything wrong with it.

    Args:
        arguments: the words after ``check-data``.

    Returns:
        0 if the set is sound, 1 if something in it is wrong.
    """
    from bnn_tasks.training import TrainingCLI

    report = TrainingCLI(list(arguments), run=False).datamodule.check()
    print(report)
    return 1 if report.errors else 0


def export(arguments: Sequence[str]) -> None:
    """``bnn-tasks export CKPT --out MODEL.safetensors [--size H W]``: write the artifact, reload it, compare.

    Args:
        arguments: the words after ``export``.
    """
    parser = argparse.ArgumentParser("bnn-tasks export", description=_first_line(export))
    parser.add_argument("checkpoint", help="a checkpoint that fit wrote")
    parser.add_argument("--out", required=True, help="the artifact to write, MODEL.safetensors")
    parser.add_argument("--size", nargs=2, type=int, metavar=("H", "W"), help="input size; default: the training size")
    options = parser.parse_args(arguments)
    from bnn_tasks.training import export_checkpoint

    print(export_checkpoint(options.checkpoint, options.out, tuple(options.size) if options.size else None))


def _overlap(word: str) -> float:
    try:
        return float(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{word!r} is no overlap; with the usual one, write --window last") from error


def run(arguments: Sequence[str]) -> None:
    """``bnn-tasks run MODEL.safetensors IMAGE_OR_FOLDER... --out DIR``: pictures and predictions.json; no torch.

    Args:
        arguments: the words after ``run``.
    """
    parser = argparse.ArgumentParser("bnn-tasks run", description=_first_line(run))
    parser.add_argument("model", help="an artifact that export wrote")
    parser.add_argument("images", nargs="+", help="pictures, or folders of pictures")
    parser.add_argument("--out", required=True, help="folder to write to")
    parser.add_argument("--threads", type=int, default=1, help="threads of the kernels (default 1)")
    parser.add_argument("--score", type=float, default=0.3, help="draw detections from this score on (default 0.3)")
    parser.add_argument(
        "--window",
        type=_overlap,
        nargs="?",
        const=0.25,
        metavar="OVERLAP",
        help="segment pictures larger than the input in windows of its size, at their own scale (overlap 0.25 by default)",
    )
    parser.add_argument(
        "--annotations",
        metavar="COCO.json",
        help="give detections the category and image ids of this COCO file, by class and file name; "
        "default: label + 1, and 1, 2, ... in the order of the pictures; rows have both names too",
    )
    options = parser.parse_args(arguments)
    from bnn_tasks.runtime.run import run_folder

    print(
        run_folder(
            options.model,
            options.images,
            options.out,
            threads=options.threads,
            draw_from=options.score,
            window=options.window,
            annotations=options.annotations,
        )
    )


def profile(arguments: Sequence[str]) -> None:
    """``bnn-tasks profile CONFIG_OR_CKPT_OR_MODEL``: which layers are really binary, and what each costs.

    Args:
        arguments: the words after ``profile``.
    """
    parser = argparse.ArgumentParser("bnn-tasks profile", description=_first_line(profile))
    parser.add_argument("path", help="a config (.yaml), a checkpoint (.ckpt) or an artifact (.safetensors)")
    parser.add_argument("--size", nargs=2, type=int, metavar=("H", "W"), help="input size; default: the training size")
    options = parser.parse_args(arguments)
    size = tuple(options.size) if options.size else None
    if not options.path.endswith((".ckpt", ".yaml", ".yml")):  # an artifact may have any name
        from bnn_tasks.runtime import Session
        from bnn_tasks.runtime.profile import format_table
        from bnn_tasks.runtime.profile import profile as profile_artifact

        session = Session(options.path)
        if size is None:
            if session.resize is None:
                raise ValueError(f"Expected --size H W, since {options.path!r} fixes no input size.")
            size = session.resize.sizes[0]
        print(format_table(profile_artifact(session, size)))
    else:
        from bnn_tasks.training import profile_training

        print(profile_training(options.path, size))


def bench(arguments: Sequence[str]) -> None:
    """``bnn-tasks bench MODEL.safetensors``: an artifact against the float net of its shapes in other engines.

    Args:
        arguments: the words after ``bench``.
    """
    parser = argparse.ArgumentParser("bnn-tasks bench", description=_first_line(bench))
    parser.add_argument("model", nargs="?", help="an artifact that export wrote")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--layers", action="store_true", help="where the model's time goes, step by step; needs no peer")
    what.add_argument("--convolutions", action="store_true", help="single layers of ResNet-18 instead of a model")
    parser.add_argument(
        "--against",
        help="peers, separated by commas: torch, onnxruntime, openvino (all by default), or a row, as openvino-int8; or none",
    )
    parser.add_argument("--threads", type=int, default=1, help="threads that each may use (default 1)")
    parser.add_argument("--size", nargs=2, type=int, metavar=("H", "W"), help="input size; default: the model's first")
    parser.add_argument(
        "--repeats", type=int, default=15, help="rounds, in each of which every peer has a turn (default 15)"
    )
    parser.add_argument("--images", help="folder of pictures to run instead of noise; the first few by name")
    parser.add_argument(
        "--float-net", help="an artifact of a float net for the peers, instead of the model's float twin"
    )
    parser.add_argument("--json", help="file to write the figures to")
    options = parser.parse_args(arguments)
    from bnn_tasks.bench.command import run_bench

    print(run_bench(options))


def methods(arguments: Sequence[str]) -> None:
    """``bnn-tasks methods``: the binarisation methods that a config can name, and what each is made of.

    Args:
        arguments: the words after ``methods``; there are none.
    """
    argparse.ArgumentParser("bnn-tasks methods", description=_first_line(methods)).parse_args(arguments)
    from bnn_tasks.binary import format_methods

    print(format_methods())


VERBS: dict[str, Callable[[Sequence[str]], int | None]] = {
    "check-data": check_data,
    "export": export,
    "run": run,
    "profile": profile,
    "bench": bench,
    "methods": methods,
}

USAGE = """usage: bnn-tasks VERB ...

  fit | validate | test | predict   --config FILE [--ckpt_path FILE]        train and evaluate
  check-data                        --config FILE                           list everything wrong with a data set
  export                            CKPT --out MODEL.safetensors            write the artifact of a trained net
  run                               MODEL.safetensors IMAGES... --out DIR   detect, segment, classify by XNOR and popcount
  profile                           CONFIG_OR_CKPT_OR_MODEL                 what is binary, and what it costs
  bench                             MODEL | --layers MODEL | --convolutions  time it against other engines
  methods                                                                   what `method` may be in a config

bnn-tasks VERB --help says more."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb; bad input ends with one line on stderr and status 2 (BNN_TASKS_TRACEBACK=1 shows the whole traceback).

    A signal ends it with 128 + its number: SIGTERM 143, Ctrl-C 130, but for Lightning's verbs, which say 1 after Ctrl-C.

    Args:
        arguments: the command line without the program's name; None is sys.argv's.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:  # within another program, logging is that program's
        _show_notes()
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return
    verb, rest = words[0], words[1:]
    if verb not in TRAINING_VERBS and verb not in VERBS:
        print(f"{USAGE}\n\nExpected a verb, but got {verb!r}.", file=sys.stderr)
        sys.exit(2)
    status = None
    with errors_in_a_line(f"bnn-tasks {verb}"):
        if verb in TRAINING_VERBS:
            train(words)
        else:
            status = VERBS[verb](rest)
    if status:
        sys.exit(status)


@contextmanager
def errors_in_a_line(program: str) -> Iterator[None]:
    """Context that ends the process with one line and status 2 where the user can cure what is wrong; 130 after Ctrl-C.

    BNN_TASKS_TRACEBACK=1 shows where it came from.

    Args:
        program: what the line begins with.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "bnn_tasks":
            raise
        print(f"{program} needs {error.name!r}. Cure: pip install 'bnn-tasks[train]'.", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{program}: stopped by Ctrl-C.", file=sys.stderr)
        sys.exit(130)
    except (ValueError, TypeError, OSError) as error:
        # A TypeError in other words than ours is a fault of the code.
        fault = isinstance(error, TypeError) and not str(error).startswith("Expected ")
        if fault or os.environ.get("BNN_TASKS_TRACEBACK"):
            raise
        print(f"{program}: {_reason(error)}", file=sys.stderr)
        sys.exit(2)
