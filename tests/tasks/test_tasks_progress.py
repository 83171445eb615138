"""Training progress in the net: after every step, in evaluation, in checkpoints, after resume, with averaged weights."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from test_tasks_classification import SHAPES, data, tiny, trainer

from bnn_tasks.backbones import CifarResNet, ReActBlock
from bnn_tasks.binary import EDE, BinaryConv2d, Scheduled
from bnn_tasks.binary.optim import CaseOptimizer
from bnn_tasks.callbacks import LastCheckpoint
from bnn_tasks.models import Classifier
from bnn_tasks.tasks import ClassificationTask

STEPS = 5  # an epoch


def scheduled(num_classes: int) -> Classifier:
    net = tiny(num_classes)
    for layer in net.modules():
        if isinstance(layer, BinaryConv2d):
            layer.activation_binarizer.estimator = EDE()
    return net


def task(optimizer: Any = torch.optim.SGD, model: Any = scheduled) -> ClassificationTask:
    torch.manual_seed(0)
    return ClassificationTask(model, SHAPES, partial(optimizer, lr=1e-3))


def progress(net: torch.nn.Module) -> float:
    (value,) = {float(part.progress) for part in net.modules() if isinstance(part, Scheduled)}
    return value


def saved(path: Path) -> set[float]:
    state = torch.load(path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return {float(value) for name, value in state.items() if name.endswith(".progress")}


class Watch(L.Callback):
    """Progress during every training step and every validation."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.validations: list[float] = []

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        pl_module.model.register_forward_pre_hook(
            lambda module, args: self.steps.append(progress(module)) if module.training else None
        )

    def on_validation_batch_start(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        self.validations.append(progress(pl_module))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("progress") / "set"


def test_every_step_and_the_last_validation(root: Path, tmp_path: Path) -> None:
    watch, m = Watch(), task()
    trainer(tmp_path, watch, LastCheckpoint()).fit(m, data(root))
    assert watch.steps == pytest.approx([step / (2 * STEPS) for step in range(2 * STEPS)])
    assert watch.validations == pytest.approx([0.5, 0.5, 1, 1])
    assert saved(tmp_path) == {1.0}
    assert progress(m) == 1
    trainer(tmp_path).test(m, data(root), verbose=False)
    assert progress(m) == 1


def test_a_resumed_fit_goes_on(root: Path, tmp_path: Path) -> None:
    trainer(tmp_path, LastCheckpoint(), max_epochs=1).fit(task(), data(root))
    assert saved(tmp_path) == {1.0}
    watch = Watch()
    trainer(tmp_path, watch, LastCheckpoint(), max_epochs=4).fit(
        task(), data(root), ckpt_path=tmp_path / "checkpoints" / "last.ckpt", weights_only=True
    )
    assert watch.steps == pytest.approx([step / (4 * STEPS) for step in range(STEPS, 4 * STEPS)])
    assert saved(tmp_path) == {1.0}


def test_accumulated_gradients_count_steps_not_batches(root: Path, tmp_path: Path) -> None:
    watch, m = Watch(), task()
    trainer(tmp_path, watch, max_epochs=1, accumulate_grad_batches=2).fit(m, data(root))
    assert watch.steps == pytest.approx([0, 0, 1 / 3, 1 / 3, 2 / 3])
    assert progress(m) == 1


def test_averaged_weights_have_the_progress_itself(root: Path, tmp_path: Path) -> None:
    watch, m = Watch(), task()
    callbacks = EMAWeightAveraging(decay=0.9), watch, LastCheckpoint()
    trainer(tmp_path, *callbacks, check_val_every_n_epoch=1).fit(m, data(root))
    assert watch.validations == pytest.approx([0.5, 0.5, 1, 1])
    assert saved(tmp_path) == {1.0}
    assert progress(m) == 1


def test_a_stopped_run_says_how_far_it_came(root: Path, tmp_path: Path) -> None:
    class Stop(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, *_: Any) -> None:
            trainer.should_stop = True

    trainer(tmp_path, Stop(), LastCheckpoint(), max_epochs=4).fit(task(), data(root))
    assert saved(tmp_path) == {0.25}


def test_a_run_without_end_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run of known length.*max_steps"):
        trainer(tmp_path, max_epochs=-1).fit(task(), data(root))


def test_methods_adjust_their_latent_weights_after_a_step(root: Path, tmp_path: Path) -> None:
    from bnn_tasks.backbones import PlainBlock

    def plain(num_classes: int) -> Classifier:
        from bnn_tasks.backbones import CifarResNet

        net = Classifier(num_classes, CifarResNet(8, partial(PlainBlock, method="bnn"), width=4))
        for layer in net.modules():
            if isinstance(layer, BinaryConv2d):
                layer.weight.data.mul_(100)
        return net

    m = task(model=plain)
    layers = [layer for layer in m.modules() if isinstance(layer, BinaryConv2d)]
    assert max(float(layer.weight.detach().abs().max()) for layer in layers) > 1
    trainer(tmp_path, max_epochs=1, limit_train_batches=1, limit_val_batches=0).fit(m, data(root))
    assert max(float(layer.weight.detach().abs().max()) for layer in layers) == 1


def test_a_method_looks_at_the_optimisers_state_after_every_step(tmp_path: Path) -> None:
    """LAB's curvature is Adam's second moment, also inside a CaseOptimizer, and is refused without one."""
    block = partial(ReActBlock, method="lab")

    def lab(num_classes: int) -> Classifier:
        return Classifier(num_classes, CifarResNet(8, block, width=4))

    torch.manual_seed(0)
    case = partial(CaseOptimizer, binary=partial(torch.optim.Adam, lr=1e-3), real=partial(torch.optim.SGD, lr=1e-2))
    learner = ClassificationTask(lab, SHAPES, case)
    trainer(tmp_path, max_epochs=1).fit(learner, datamodule=data(tmp_path))
    for layer in learner.modules():
        if isinstance(layer, BinaryConv2d):
            moment = learner.trainer.optimizers[0].state[layer.weight]["exp_avg_sq"]
            assert torch.equal(layer.weight_binarizer.curvature, moment.sqrt() + 1e-8)
    with pytest.raises(ValueError, match=r"second moment .* 'lab' .* Cure: torch.optim.Adam"):
        trainer(tmp_path, max_epochs=1).fit(
            ClassificationTask(lab, SHAPES, partial(torch.optim.SGD, lr=1e-3)), datamodule=data(tmp_path)
        )


def test_weights_that_cannot_be_binarised_are_refused_before_training(tmp_path: Path) -> None:
    learner = task()
    next(m for m in learner.modules() if isinstance(m, BinaryConv2d)).weight.data.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"model\.backbone\.layer1\.0\.first\.conv: .*NaN"):
        trainer(tmp_path, max_epochs=1).fit(learner, datamodule=data(tmp_path))
