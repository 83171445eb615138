"""Adversarial training against loops written out: what is trained on, what moves, what must not."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from configs_for_tests import tiny_classification_config
from torch import Tensor, nn

from bnn_tasks.backbones import CifarResNet
from bnn_tasks.cli import main
from bnn_tasks.data import SyntheticClassificationData
from bnn_tasks.models import Classifier
from bnn_tasks.robustness.adversarial_training import CleanTraining, Learner, PGDTraining, TrainingObjective
from bnn_tasks.robustness.attacks.base import Attack, Attacked
from bnn_tasks.robustness.attacks.eot import EOT
from bnn_tasks.robustness.attacks.hop_skip_jump import HopSkipJump
from bnn_tasks.robustness.attacks.pgd import PGD
from bnn_tasks.robustness.attacks.raising import Raising
from bnn_tasks.robustness.dlr import DLRObjective
from bnn_tasks.robustness.free_training import FreeTraining
from bnn_tasks.robustness.frozen import frozen
from bnn_tasks.robustness.objective import Objective
from bnn_tasks.robustness.orthogonality import CosinePenalty
from bnn_tasks.robustness.trades import TRADES, DivergenceObjective, divergence
from bnn_tasks.robustness.weight_views import EffectiveWeights
from bnn_tasks.tasks import ClassificationTask
from bnn_tasks.tasks.checkpoint import load_task
from bnn_tasks.tasks.classification_auxiliary import OrthogonalityLoss

EPS = 0.03
SHAPES = ["circle", "square", "triangle"]
LABELS = torch.tensor([0, 1, 2, 0])
IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
IMAGES[0, 0, 0, :2] = torch.tensor([0.0, 1.0])


def net() -> Classifier:
    torch.manual_seed(0)
    return Classifier(3, CifarResNet(8, width=4)).train()


def learner(model: Classifier) -> Learner:
    return Learner(model, model, model.loss)


class Checkerboard(Attack):
    """Moves every other value up and the others down by ε; remembers the state of the model it met."""

    name = "checkerboard"

    def __init__(self, model: nn.Module) -> None:
        self.model, self.seen, self.seeds = model, [], []

    def perturb(self, images: Tensor, eps: float) -> Tensor:
        signs = torch.ones(images.numel())
        signs[::2] = -1
        return (images + eps * signs.view_as(images)).clamp(0, 1)

    def __call__(self, objective: Objective, images: Tensor, eps: float, generator: torch.Generator) -> Attacked:
        modes = {part.training for part in self.model.modules()}
        wanted = {p.requires_grad for p in self.model.parameters()}
        self.seen.append((modes, wanted))
        self.seeds.append(generator.initial_seed())
        x = self.perturb(images, eps)
        losses, broken = objective.judged(x.requires_grad_())
        torch.autograd.grad(losses.sum(), x)
        assert not broken.any(), "every image is fought for to the end"
        return Attacked(x.detach(), broken, losses.detach(), torch.ones(len(x)))


def test_what_raises_a_loss_of_its_own_is_no_inner_maximiser() -> None:
    for make in (PGDTraining, TRADES):
        with pytest.raises(TypeError, match="PGD-2 DLR takes ClassificationObjective alone"):
            make(Raising(PGD(2), DLRObjective), EPS)
        for attack in (HopSkipJump(2, norm="linf"), EOT(HopSkipJump(2, norm="linf"))):
            with pytest.raises(ValueError, match=r"HopSkipJump-2.* asks alone what is lost"):
                make(attack, EPS)


def test_a_second_fit_of_free_training_starts_at_nought() -> None:
    training, model = FreeTraining(EPS), net()
    first = training(learner(model), IMAGES, LABELS)["cross_entropy"]
    first.backward()
    assert training(learner(model), IMAGES, LABELS)["cross_entropy"] != first, "δ has moved"
    training.start()
    torch.testing.assert_close(training(learner(model), IMAGES, LABELS)["cross_entropy"], first)


def statistics(model: nn.Module) -> dict[str, Tensor]:
    return {name: b.clone() for name, b in model.named_buffers()}


def test_frozen_puts_every_flag_back() -> None:
    model = net()
    model.backbone.bn1.eval()
    model.head.requires_grad_(False)
    modes = {n: m.training for n, m in model.named_modules()}
    wanted = {n: p.requires_grad for n, p in model.named_parameters()}

    def fail() -> None:
        with frozen(model):
            assert not any(m.training for m in model.modules())
            assert not any(p.requires_grad for p in model.parameters())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert modes == {n: m.training for n, m in model.named_modules()}
    assert wanted == {n: p.requires_grad for n, p in model.named_parameters()}


def test_clean_training_is_the_models_own_loss() -> None:
    model = net()
    twin = copy.deepcopy(model)
    got = CleanTraining()(learner(model), IMAGES, LABELS)
    assert torch.equal(got["cross_entropy"], F.cross_entropy(twin(IMAGES), LABELS))


def test_pgd_training_trains_on_what_the_attack_found_and_on_nothing_else() -> None:
    model = net()
    twin, attack = copy.deepcopy(model), Checkerboard(model)
    losses = PGDTraining(attack, EPS)(learner(model), IMAGES, LABELS)
    losses["cross_entropy"].backward()
    assert attack.seen == [({False}, {False})]
    expected = F.cross_entropy(
        twin(attack.perturb(IMAGES, EPS)), LABELS
    )  # one pass in training mode, which moves statistics
    expected.backward()
    assert torch.equal(losses["cross_entropy"], expected)
    for name, b in twin.named_buffers():
        assert torch.equal(b, model.get_buffer(name)), name
    for name, p in twin.named_parameters():
        assert torch.equal(p.grad, model.get_parameter(name).grad), name


@pytest.mark.parametrize("objective", [PGDTraining, TRADES])
def test_the_attack_moves_no_statistic(objective: Any) -> None:
    model = net()
    before = statistics(model)

    class Stop(Exception):
        pass

    def forward(images: Tensor) -> Tensor:
        assert all(torch.equal(b, before[n]) for n, b in model.named_buffers())
        assert all(part.training for part in model.modules())
        assert float(images.min()) >= 0
        assert float(images.max()) <= 1
        assert float((images - IMAGES).abs().max()) <= EPS + 1e-6
        raise Stop

    with pytest.raises(Stop):
        objective(PGD(3), EPS)(Learner(model, forward, model.loss), IMAGES, LABELS)


def test_pgd_finds_the_optimum_of_a_linear_net() -> None:
    """Two classes, logits ±w·x: the worst image is x - y·ε·sign(w), cut to [0, 1]."""
    w = torch.randn(3 * 8 * 8, generator=torch.Generator().manual_seed(1))
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2, bias=False))
    model[1].weight.data = torch.stack([w, -w])
    labels = torch.tensor([0, 1, 0, 1])
    met: list[Tensor] = []

    def forward(images: Tensor) -> Tensor:
        met.append(images)
        return model(images)

    chosen = PGDTraining(PGD(20), EPS)
    chosen(Learner(model, forward, lambda z, y: {"loss": F.cross_entropy(z, y)}), IMAGES, labels)
    y = 1 - 2 * labels.view(-1, 1, 1, 1)
    expected = (IMAGES - y * EPS * w.view(1, 3, 8, 8).sign()).clamp(0, 1)
    assert float((met[0] - expected).abs().max()) < 1e-6


@pytest.mark.parametrize("objective", [PGDTraining(PGD(2), EPS), TRADES(PGD(2), EPS), FreeTraining(EPS)])
def test_every_weight_gets_a_gradient_in_bfloat16(objective: TrainingObjective) -> None:
    """Autocast keeps casts of weights; one made without gradients would starve the weight."""
    model = net()
    with torch.autocast("cpu", torch.bfloat16):
        losses = objective(learner(model), IMAGES, LABELS)
        torch.stack(list(losses.values())).sum().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert bool(torch.isfinite(p.grad).all()), name


def test_the_seed_of_the_run_fixes_the_attacks() -> None:
    model = net()
    attack = Checkerboard(model)
    for _ in range(2):
        torch.manual_seed(3)
        for _ in range(2):
            PGDTraining(attack, EPS)(learner(model), IMAGES, LABELS)
    first, second, *again = attack.seeds
    assert again == [first, second]
    assert first != second


def test_divergence_against_numpy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 4)), rng.normal(size=(5, 4))
    p, q = (np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in (a, b))
    expected = (p * np.log(p / q)).sum(1)
    assert np.allclose(divergence(torch.from_numpy(a), torch.from_numpy(b)), expected, rtol=1e-5)
    huge = torch.tensor([[1e4, 0.0]])
    assert float(divergence(huge, huge.flip(1))) == pytest.approx(1e4)
    assert float(divergence(huge, huge)) == 0


def test_a_part_of_the_divergence_objective() -> None:
    clean = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    model = net().eval()
    whole = DivergenceObjective(model, clean)
    index = torch.tensor([3, 1])
    assert torch.allclose(whole.select(index)(IMAGES[index]), whole(IMAGES)[index], atol=1e-5)
    assert not whole.broken(IMAGES).any()


def test_trades_is_its_two_terms() -> None:
    model = net()
    twin, attack = copy.deepcopy(model), Checkerboard(model)
    losses = TRADES(attack, EPS, beta=3.0)(learner(model), IMAGES, LABELS)
    sum(losses.values()).backward()
    clean, moved = twin(IMAGES), twin(attack.perturb(IMAGES, EPS))
    p, q = clean.softmax(1), moved.softmax(1)
    expected = F.cross_entropy(clean, LABELS) + 3 * (p * (p.log() - q.log())).sum(1).mean()
    expected.backward()
    assert losses.keys() == {"cross_entropy", "divergence"}
    assert float(sum(losses.values()).detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    for name, b in twin.named_buffers():
        assert torch.equal(b, model.get_buffer(name)), name
    for name, p in twin.named_parameters():
        assert torch.allclose(p.grad, model.get_parameter(name).grad, atol=1e-5), name


def test_free_training_is_its_algorithm() -> None:
    """Shafahi et al.'s loop over batches of different size, written out, in plain SGD."""
    model, batches = net(), [(IMAGES, LABELS), (IMAGES[:3].flip(0), LABELS[:3]), (IMAGES, LABELS)]
    twin, objective = copy.deepcopy(model), FreeTraining(EPS, replays=3)
    optimizer, other = torch.optim.SGD(model.parameters(), 0.1), torch.optim.SGD(twin.parameters(), 0.1)
    delta = torch.zeros(4, 3, 8, 8)
    for images, labels in batches:
        for _ in range(3):
            optimizer.zero_grad()
            objective(learner(model), images, labels)["cross_entropy"].backward()
            optimizer.step()

            other.zero_grad()
            part = delta[: len(images)].clone().requires_grad_()
            F.cross_entropy(twin((images + part).clamp(0, 1)), labels).backward()
            delta[: len(images)] = (part.detach() + EPS * part.grad.sign()).clamp(-EPS, EPS)
            other.step()
    assert float(delta.abs().max()) == pytest.approx(EPS)
    for name, value in twin.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


def fit(folder: Path, root: Path, objective: TrainingObjective | None, **arguments: Any) -> tuple[Any, Any, int]:
    torch.manual_seed(0)
    task = ClassificationTask(
        lambda classes: Classifier(classes, CifarResNet(8, width=4)),
        SHAPES,
        partial(torch.optim.AdamW, lr=1e-2),
        training=objective,
        auxiliary=[OrthogonalityLoss(1e-3, EffectiveWeights(), CosinePenalty())],
    )
    passes: list[float] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if module.training:
            passes.append(1)
            assert float(inputs[0].detach().min()) >= 0
            assert float(inputs[0].detach().max()) <= 1

    task.model.register_forward_hook(note)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **arguments,
    )
    trainer.fit(task, SyntheticClassificationData(root, images=20, batch_size=6))  # 12 to train on
    return task, trainer, len(passes)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("classes") / "set"


@pytest.mark.parametrize(
    ("objective", "passes", "logged"),
    [
        (None, 1, {"cross_entropy"}),
        (PGDTraining(PGD(2), EPS), 1, {"cross_entropy"}),
        (TRADES(PGD(2), EPS), 2, {"cross_entropy", "divergence"}),
        (FreeTraining(EPS, replays=3), 3, {"cross_entropy"}),
    ],
    ids=["clean", "pgd", "trades", "free"],
)
def test_each_trains_a_task(
    objective: TrainingObjective | None, passes: int, logged: set[str], root: Path, tmp_path: Path
) -> None:
    task, trainer, count = fit(tmp_path, root, objective, precision="bf16-mixed")
    batches = trainer.num_training_batches
    assert trainer.global_step == batches, "a replayed batch is one step of the run"
    assert task.progress() == 1
    assert count == passes * batches
    names = {name.removeprefix("train/") for name in trainer.callback_metrics if name.startswith("train/")}
    assert names == {"loss", "orthogonality_effective_cosine", *logged}
    assert all(bool(torch.isfinite(p).all()) for p in task.parameters())
    assert set(task.state_dict()) == {f"model.{name}" for name in task.model.state_dict()}


def test_replays_and_accumulated_gradients_do_not_go_together(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"accumulate_grad_batches to be 1 for FreeTraining.*got 2"):
        fit(tmp_path, root, FreeTraining(EPS), accumulate_grad_batches=2)


def test_a_config_names_the_defence_and_its_checkpoint_loads(tmp_path: Path) -> None:
    robustness = "bnn_tasks.robustness"
    config = tiny_classification_config(tmp_path, epochs=1)
    config["model"]["init_args"] |= {
        "training": {
            "class_path": f"{robustness}.adversarial_training.PGDTraining",
            "init_args": {
                "attack": {"class_path": f"{robustness}.attacks.pgd.PGD", "init_args": {"steps": 2, "step_size": 0.5}},
                "eps": 0.0157,
            },
        },
        "auxiliary": [
            {
                "class_path": "bnn_tasks.tasks.classification_auxiliary.OrthogonalityLoss",
                "init_args": {"beta": 0.001, "weights": {"class_path": f"{robustness}.weight_views.EffectiveWeights"}},
            }
        ],
    }
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(tmp_path / "given.yaml")])
    task = load_task(str(tmp_path / "checkpoints" / "last.ckpt"))
    assert isinstance(task, ClassificationTask)
    assert isinstance(task.objective, PGDTraining)
    assert isinstance(task.objective.attack, PGD)
    assert (task.objective.eps, task.objective.attack.steps) == (0.0157, 2)
    (extra,) = task.auxiliary
    assert isinstance(extra, OrthogonalityLoss)
    assert isinstance(extra.weights, EffectiveWeights)


@pytest.mark.parametrize("eps", [0.0, -0.1, float("inf"), float("nan")])
@pytest.mark.parametrize("make", [partial(PGDTraining, PGD()), partial(TRADES, PGD()), FreeTraining])
def test_bad_radius(make: Any, eps: float) -> None:
    with pytest.raises(ValueError, match="Expected `eps`"):
        make(eps=eps)


def test_other_bad_arguments() -> None:
    with pytest.raises(ValueError, match="Expected `replays`"):
        FreeTraining(EPS, 0)
    with pytest.raises(ValueError, match=r"`eps` to be in \(0, 1\], but got 8"):
        FreeTraining(8)
    with pytest.raises(ValueError, match="Expected `beta`"):
        TRADES(PGD(), EPS, beta=0)
