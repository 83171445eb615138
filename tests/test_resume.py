"""kill -9 in the middle of a fit, then fit again from last.ckpt: nothing is lost but the epoch it fell into."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from configs_for_tests import tiny_config

from bnn_tasks.cli import main

EPOCHS, STEPS = 4, 2  # steps an epoch


def steps(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def start(folder: Path, pause: float) -> list[str]:
    """The command line of a fit whose steps are logged."""
    log = {"class_path": "configs_for_tests.StepLog", "init_args": {"path": str(folder / "steps"), "pause": pause}}
    config = tiny_config(folder, EPOCHS, (log,))
    config["trainer"]["limit_val_batches"] = 0
    path = folder / f"given_{pause}.yaml"
    path.write_text(yaml.safe_dump(config))
    return ["fit", "--config", str(path)]


def test_a_killed_fit_resumes(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])}
    command = [sys.executable, "-m", "bnn_tasks", *start(tmp_path, 0.5)]
    with open(tmp_path / "output", "w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            while not (checkpoint.exists() and steps(tmp_path / "steps")[-1] > STEPS):  # in the second epoch
                assert process.poll() is None, (tmp_path / "output").read_text()
                time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    done = steps(tmp_path / "steps")
    assert done == list(range(1, done[-1] + 1))
    assert done[-1] < EPOCHS * STEPS
    saved = torch.load(checkpoint, weights_only=True)
    assert saved["global_step"] % STEPS == 0
    assert 0 <= done[-1] - saved["global_step"] <= STEPS
    rate = saved["optimizer_states"][0]["param_groups"][0]["lr"]

    main([*start(tmp_path, 0.0), "--ckpt_path", str(checkpoint)])
    resumed = steps(tmp_path / "steps")[len(done) :]
    assert resumed == list(range(saved["global_step"] + 1, EPOCHS * STEPS + 1))
    finished = torch.load(checkpoint, weights_only=True)
    assert finished["global_step"] == EPOCHS * STEPS
    assert finished["epoch"] == EPOCHS - 1
    assert finished["optimizer_states"][0]["param_groups"][0]["lr"] != rate
    assert [p.name for p in checkpoint.parent.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(("step", "told"), [(1, " before its first checkpoint."), (3, ". To go on: --ckpt_path {}")])
def test_a_terminated_fit_has_no_success(
    step: int, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shell goes on behind `fit && test` only with status 0; 128 + 15 is that of a process which SIGTERM ends."""
    stop = {"class_path": "configs_for_tests.Terminate", "init_args": {"step": step}}
    config = tiny_config(tmp_path, 2, (stop,))
    config["trainer"]["limit_val_batches"] = 0
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", str(tmp_path / "given.yaml")])
    assert ended.value.code == 143
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == "bnn-tasks fit: stopped by SIGTERM" + told.format(tmp_path / "checkpoints" / "last.ckpt")


def test_a_resumed_fit_draws_other_orders(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Epochs 0 and 1, and again epoch 1 after a resume: the two of epoch 1 differ, and none has the order of epoch 0."""
    log = {"class_path": "configs_for_tests.OrderLog", "init_args": {"path": str(tmp_path / "order")}}
    config = tiny_config(tmp_path, 2, (log,))
    config["trainer"]["limit_val_batches"] = 0
    config["data"]["init_args"] |= {"images": 30, "batch_size": 9}
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(config))
    command = ["fit", "--config", str(tmp_path / "given.yaml")]

    def fit(*arguments: str) -> list[str]:
        main([*command, *arguments])
        lines = (tmp_path / "order").read_text().splitlines()
        (tmp_path / "order").unlink()
        return [" ".join(lines[k : k + 2]) for k in range(0, len(lines), 2)]

    first, second = fit()
    assert fit("--trainer.max_steps", "2") == [first], "an uninterrupted fit repeats itself"
    resume = "--ckpt_path", str(tmp_path / "checkpoints" / "last.ckpt")
    with caplog.at_level(logging.INFO, "bnn_tasks"):
        (resumed,) = fit(*resume)
    assert len({first, second, resumed}) == 3
    assert sorted(first.split()) == sorted(resumed.split())
    assert "resuming after step 2: order and augmentation are drawn anew, from seed 2" in caplog.text


def test_stopping_and_resuming_gives_the_steps_of_one_run(tmp_path: Path) -> None:
    """The optimiser, the schedule and BatchNorm go on; the order of the pictures is drawn anew."""
    config = tiny_config(tmp_path, 2)
    config["trainer"]["limit_val_batches"] = 0
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(config))
    command = ["fit", "--config", str(tmp_path / "given.yaml")]
    main([*command, "--trainer.max_steps", "2"])
    checkpoint = str(tmp_path / "checkpoints" / "last.ckpt")
    half = torch.load(checkpoint, weights_only=True)
    main([*command, "--ckpt_path", checkpoint])
    whole = torch.load(checkpoint, weights_only=True)
    assert (half["global_step"], whole["global_step"]) == (2, 4)
    states = [c["optimizer_states"][0]["state"][0]["step"] for c in (half, whole)]
    assert [int(step) for step in states] == [2, 4]
    counter = "model.backbone.bn1.num_batches_tracked"
    assert [int(c["state_dict"][counter]) for c in (half, whole)] == [2, 4]
