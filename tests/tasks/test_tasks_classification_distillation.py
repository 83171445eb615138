"""Distillation of classifiers: the loss against its formula in numpy, a teacher that leaves no trace, a run by the CLI."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from configs_for_tests import tiny_classification_config
from torch import Tensor, nn

from bnn_tasks.cli import main
from bnn_tasks.robustness.adversarial_training import Learner
from bnn_tasks.tasks import ClassificationTask, ClassifierTeacher, DistilledTraining
from bnn_tasks.tasks.checkpoint import load_checkpoint, load_task


class Says(ClassifierTeacher):
    """A teacher of given logits."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__("")
        self.logits = logits

    def __call__(self, images: Tensor) -> Tensor:
        return self.logits


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def losses(student: Tensor, teacher: Tensor, weight: float, temperature: float) -> dict[str, Tensor]:
    labels = torch.tensor([0, 2, 1, 1])
    learner = Learner(nn.Identity(), lambda images: student, lambda z, y: {"loss": nn.functional.cross_entropy(z, y)})
    return DistilledTraining(Says(teacher), weight, temperature)(learner, torch.zeros(4, 3, 2, 2), labels)


@pytest.mark.parametrize(("weight", "temperature"), [(1.0, 1.0), (0.25, 3.0)])
def test_the_loss_is_its_formula(weight: float, temperature: float) -> None:
    torch.manual_seed(0)
    student, teacher = 3 * torch.randn(4, 3), 3 * torch.randn(4, 3)
    found = losses(student, teacher, weight, temperature)
    p, q = (softmax(z.double().numpy() / temperature) for z in (teacher, student))
    expected = weight * temperature**2 * (p * np.log(p / q)).sum(1).mean()
    assert float(found["imitation"]) == pytest.approx(expected, rel=1e-5)
    assert set(found) == ({"imitation"} if weight == 1 else {"imitation", "loss"})
    if weight < 1:
        own = -np.log(softmax(student.double().numpy())[range(4), [0, 2, 1, 1]]).mean()
        assert float(found["loss"]) == pytest.approx((1 - weight) * own, rel=1e-5)


def test_the_gradient_is_that_of_reactnets_cross_entropy() -> None:
    """-Σ p_k·log q_k, the distributional loss, differs from the divergence by a constant."""
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3)
    (found,) = torch.autograd.grad(losses(student, teacher, 1.0, 1.0)["imitation"], student)
    p = torch.from_numpy(softmax(teacher.numpy()))
    (expected,) = torch.autograd.grad(-(p * student.log_softmax(1)).sum(1).mean(), student)
    torch.testing.assert_close(found, expected)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("distilled")
    config = tiny_classification_config(folder, 1)
    config["trainer"]["callbacks"] = [{"class_path": "LastCheckpoint"}]
    fit(config, folder / "teacher")
    teacher = {"class_path": "ClassifierTeacher", "init_args": {"path": str(folder / "teacher/checkpoints/last.ckpt")}}
    config["model"]["init_args"]["training"] = {"class_path": "DistilledTraining", "init_args": {"teacher": teacher}}
    fit(config, folder / "student")
    return folder, config


def fit(config: dict, folder: Path) -> None:
    folder.mkdir()
    config["trainer"]["default_root_dir"] = str(folder)
    (folder / "given.yaml").write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(folder / "given.yaml")])


def test_a_student_leaves_no_trace_of_its_teacher(taught: tuple[Path, dict]) -> None:
    folder, _ = taught
    paths = [folder / name / "checkpoints/last.ckpt" for name in ("teacher", "student")]
    states = [load_checkpoint(path)["state_dict"] for path in paths]
    assert list(states[0]) == list(states[1])
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0])
    paths[0].rename(folder / "away.ckpt")
    try:
        assert isinstance(load_task(paths[1]), ClassificationTask)  # opens without the teacher's file
    finally:
        (folder / "away.ckpt").rename(paths[0])


def test_a_teacher_that_does_not_suit(taught: tuple[Path, dict], tmp_path: Path) -> None:
    path = str(taught[0] / "teacher/checkpoints/last.ckpt")
    classes = load_checkpoint(path)["bnn_tasks"]["classes"]
    objective = DistilledTraining(ClassifierTeacher(path))
    objective.check_classes(classes)
    with pytest.raises(ValueError, match=r"student's classes .* in their order, but it has"):
        objective.check_classes(classes[::-1])
    with pytest.raises(ValueError, match="no such file"):
        DistilledTraining(ClassifierTeacher(str(tmp_path / "none.ckpt"))).check_classes(classes)


def test_classes_are_looked_at_before_a_fit(taught: tuple[Path, dict]) -> None:
    path = str(taught[0] / "teacher/checkpoints/last.ckpt")
    task = ClassificationTask(
        lambda k: load_task(path).model,
        ["a", "b"],
        partial(torch.optim.SGD, lr=0.1),
        training=DistilledTraining(ClassifierTeacher(path)),
    )
    task._trainer = type("Trainer", (), {"accumulate_grad_batches": 1})()
    with pytest.raises(ValueError, match="student's classes"):
        task.on_fit_start()


@pytest.mark.parametrize(("weight", "temperature"), [(0.0, 1.0), (1.5, 1.0), (1.0, 0.0), (float("nan"), 1.0)])
def test_bad_settings(weight: float, temperature: float) -> None:
    with pytest.raises(ValueError, match="Expected `weight` in"):
        DistilledTraining(ClassifierTeacher("x"), weight, temperature)
