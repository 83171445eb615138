"""Weights, statistics and outputs that are no numbers, and batches over which a BatchNorm cannot average, in both tasks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import test_tasks_classification as classification
import test_tasks_detection as detection
import torch
from test_tasks_classification import trainer

from bnn_tasks.binary import BinaryConv2d
from bnn_tasks.data.classification.batch import ClassificationBatch
from bnn_tasks.tasks import Task

VERBS = ("fit", "validate", "test", "predict")
both = pytest.mark.parametrize("kind", [classification, detection])


def evaluate(kind: Any, verb: str, task: Task, folder: Path) -> None:
    getattr(trainer(folder), verb)(task, kind.data(folder / "set"))


def latent(task: Task) -> None:
    next(m for m in task.modules() if isinstance(m, BinaryConv2d)).weight.data[0] = float("nan")


def statistic(task: Task) -> None:
    task.get_buffer("model.backbone.bn1.running_mean")[1] = float("inf")


def real_weight(task: Task) -> None:
    task.get_parameter("model.backbone.conv1.weight").data[0, 1] = float("nan")


@both
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            latent,
            r"^model\.backbone\.layer1\.0\.first\.conv: Expected finite latent weights.*Cure: an earlier checkpoint",
        ),
        (statistic, r"Expected 'model\.backbone\.bn1\.running_mean' to be finite.*Cure: an earlier checkpoint"),
        (real_weight, r"Expected 'model\.backbone\.conv1\.weight' to be finite.*Cure: an earlier checkpoint"),
    ],
)
def test_what_is_no_number_is_named(
    kind: Any, verb: str, damage: Callable[[Task], None], message: str, tmp_path: Path
) -> None:
    task = kind.task()
    damage(task)
    with pytest.raises(ValueError, match=message):
        evaluate(kind, verb, task, tmp_path)


@both
@pytest.mark.parametrize("verb", VERBS[1:])
def test_outputs_that_are_no_numbers_name_the_pictures(kind: Any, verb: str, tmp_path: Path) -> None:
    task = kind.task()
    task.get_buffer("model.backbone.bn1.running_var")[0] = -1.0  # whose square root is NaN
    with pytest.raises(ValueError, match=r"Expected finite outputs, .*0000\d\d\..*Cure: an earlier checkpoint"):
        evaluate(kind, verb, task, tmp_path)


def test_one_image_where_a_batch_norm_needs_two() -> None:
    task, label = classification.task().train(), torch.tensor([0])
    for size, works in ((4, False), (32, True)):  # the last maps have 1×1 and 8×8 pixels
        batch = ClassificationBatch(torch.rand(1, 3, size, size), label, ["one.png"], [])
        if works:
            assert torch.isfinite(task.losses(task.training_forward(batch.images), batch)["cross_entropy"])
        else:
            with pytest.raises(ValueError, match=r"two values a channel.*\[1, 16, 1, 1\].*Cure: batch_size >= 2"):
                task.training_step(batch, 0)


def test_evaluation_is_in_full_precision_and_training_as_it_was() -> None:
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    task = detection.task()
    with torch.autocast("cpu", torch.bfloat16):
        with task.full_precision():
            assert (convolutions.allow_tf32, products.allow_tf32) == (False, False)
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    assert (convolutions.allow_tf32, products.allow_tf32) == before
    with pytest.raises(RuntimeError, match="stop"), task.full_precision():
        raise RuntimeError("stop")
    assert (convolutions.allow_tf32, products.allow_tf32) == before
