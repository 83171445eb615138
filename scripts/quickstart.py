"""Generate, train, evaluate, export, run bitwise, compare: the whole road on a small generated set."""

import argparse
import time
from pathlib import Path

import torch

from bnn_tasks.cli import errors_in_a_line
from bnn_tasks.cli import main as bnn_tasks
from bnn_tasks.compare import compare
from bnn_tasks.training import TrainingCLI

CONFIG = "configs/detection/synthetic_retinanet_r18.yaml"


def main() -> None:
    """Run the road and end with a table and a contact sheet."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--config", default=CONFIG)
    parser.add_argument(
        "--out", default="runs/synthetic_retinanet_r18", help="folder of the run, whatever the config says"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    out, start = Path(options.out), time.perf_counter()
    run = ["--config", options.config, "--trainer.default_root_dir", str(out)]
    checkpoint, artifact = out / "checkpoints/last.ckpt", out / "model.safetensors"

    def step(number: int, text: str) -> None:
        print(f"\n[{number}/6] {text}  ({time.perf_counter() - start:.0f} s)", flush=True)

    step(1, "generate the set and read all of it: bnn-tasks check-data")
    bnn_tasks(["check-data", "--config", options.config])
    step(2, "train: bnn-tasks fit")
    bnn_tasks(["fit", *run])
    step(3, "evaluate on the held-out images: bnn-tasks test")
    bnn_tasks(["test", *run, "--ckpt_path", str(checkpoint)])
    step(4, "export and compare bit by bit: bnn-tasks export")
    bnn_tasks(["export", str(checkpoint), "--out", str(artifact)])
    step(5, "which layers are binary: bnn-tasks profile")
    bnn_tasks(["profile", str(artifact)])
    step(6, "run the artifact on the held-out images beside the torch net")
    data = TrainingCLI(["--config", options.config], run=False).datamodule
    result = compare(checkpoint, artifact, data, threads=options.threads, sheet=out / "detections.png")
    (out / "comparison.txt").write_text(f"{result}\n")
    print(f"\n{result}\n\nground truth beside detections: {out / 'detections.png'}")
    print(f"on your own pictures: bnn-tasks run {artifact} FOLDER --out DIR")
    print(f"done in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    with errors_in_a_line("quickstart.py"):
        main()
