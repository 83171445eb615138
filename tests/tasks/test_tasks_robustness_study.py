"""A study of a classifier: its figures against loops over images, and planted faults that the verdict must name."""

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from configs_for_tests import tiny_classification_config, tiny_config
from torch import Tensor, nn

from bnn_tasks.binary import BinaryLinear
from bnn_tasks.cli import main
from bnn_tasks.export import export
from bnn_tasks.robustness.attacks import EOT, FGSM, PGD, Attack, Attacked, SurrogateSweep
from bnn_tasks.robustness.attacks.hop_skip_jump import HopSkipJump
from bnn_tasks.robustness.objective import Objective
from bnn_tasks.robustness.segmentation_losses import SegPGDLoss
from bnn_tasks.runtime import Resize
from bnn_tasks.tasks.robustness import (
    Arsenal,
    ArtifactVictim,
    CheckpointVictim,
    ClassifierStudy,
    Examination,
    Findings,
    GoalAttack,
    LossSlices,
    PixelAttack,
    TransferMatrix,
    Vanishing,
    Victim,
    WorstImages,
)
from bnn_tasks.tasks.robustness.chunks import Chunks, join
from bnn_tasks.tasks.robustness.subject import Subject

CLASSES = ["a", "b", "c", "d"]
QUICK = {"ladder": (0.0, 1.0, 4.0, 16.0, 128.0), "sweep": (4.0,), "step_counts": (5, 10), "eps": 4.0}


class NetVictim(Victim):
    """A module in memory."""

    differentiable = True
    classes = CLASSES

    def __init__(self, net: nn.Module, path: str = "net") -> None:
        self.module, self.path = net.eval(), path

    def __call__(self, images: Tensor) -> Tensor:
        assert self.module is not None
        logits: Tensor = self.module(images)
        return logits


def pictures(count: int = 120, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Four templates, and noise."""
    generator = torch.Generator().manual_seed(1)
    templates = 0.5 + 0.12 * torch.randn(4, 1, 8, 8, generator=generator)
    generator.manual_seed(seed)
    labels = torch.arange(count) % 4
    noise = 0.05 * torch.randn(count, 1, 8, 8, generator=generator)
    return (templates[labels] + noise).clamp(0, 1), labels


@cache
def trained(build: Callable[[], nn.Module]) -> nn.Module:
    """A net that has learnt the templates."""
    torch.manual_seed(0)
    net = build()
    images, labels = pictures(400, seed=5)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    return net.eval()


def real() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4))


def binary() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 64, bias=False),
        nn.BatchNorm1d(64),
        BinaryLinear(64, 64),
        nn.BatchNorm1d(64),
        BinaryLinear(64, 64),
        nn.BatchNorm1d(64),
        nn.Linear(64, 4),
    )


def study(
    net: nn.Module, others: tuple[nn.Module, ...] = (), arsenal: Arsenal | None = None, count: int = 120
) -> Findings:
    run = ClassifierStudy(Arsenal(10, queries=60) if arsenal is None else arsenal, **QUICK)  # type: ignore[arg-type]
    return run.run(NetVictim(net), [NetVictim(other, f"other {i}") for i, other in enumerate(others)], *pictures(count))


def test_figures_are_of_all_images_and_the_ladder_falls() -> None:
    net = trained(real)
    images, labels = pictures()
    found = study(net, (trained(binary),))
    clean = float((net(images).argmax(1) == labels).float().mean())
    assert found.clean.value == pytest.approx(clean)
    values = [point.value for _, point in found.ladder]
    assert values == sorted(values, reverse=True)
    assert values[-1] == 0
    at_eps = dict(found.ladder)[4 / 255]
    assert at_eps.value == found.worst.value <= min(row.accuracy.value for row in found.rows)
    assert found.worst.value <= min(value for _, value in found.convergence)
    assert {row.attack for row in found.rows} >= {"FGSM", "transfer from other 0"}
    assert not found.facts.binary
    assert found.surrogates == {}


def test_extra_attacks_have_rows_of_their_own() -> None:
    extra = [EOT(PGD(3), draws=2), HopSkipJump(steps=1, evaluations=5, norm="linf")]
    found = study(trained(real), arsenal=Arsenal(5, queries=20, extra=extra), count=24)
    assert {attack.name for attack in extra} <= {row.attack for row in found.rows}
    assert found.facts.transfer_alone is None


def test_extra_attacks_need_names_of_their_own() -> None:
    with pytest.raises(ValueError, match="FGSM is there"):
        Arsenal(extra=[FGSM()])


def test_extra_attacks_need_the_arsenals_norm() -> None:
    with pytest.raises(ValueError, match="noise is of 'linf' and HopSkipJump-50 EOT-2 of 'l2'"):
        Arsenal(extra=[EOT(HopSkipJump(steps=50), draws=2)])
    assert Arsenal(norm="l2", extra=[HopSkipJump()]).extra


@pytest.mark.parametrize(
    "attack",
    [
        GoalAttack(PGD(2), Vanishing()),
        SurrogateSweep(GoalAttack(PGD(2), Vanishing())),
        WorstImages([PixelAttack(PGD(2), SegPGDLoss())]),
        PixelAttack(PGD(2), SegPGDLoss()),
    ],
)
def test_extra_attacks_are_a_classifiers(attack: Attack) -> None:
    with pytest.raises(TypeError, match=r"takes (Detection|Segmentation)Objective alone"):
        Arsenal(extra=[attack])


@pytest.mark.parametrize("argument", ["eps", "sweep"])
def test_a_radius_beyond_every_perturbation_is_met_before_the_attacks(
    argument: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Chunks, "attack", lambda *_: pytest.fail("an attack was run"))
    radii: dict[str, Any] = {"eps": 16.0, "sweep": (16.0,)} | {
        argument: 5000.0 if argument == "eps" else (16.0, 5000.0)
    }
    run = ClassifierStudy(Arsenal(2, queries=5, norm="l2"), **radii)
    with pytest.raises(ValueError, match=rf"`{argument}` in units of 1/255, 2040 at most for 'l2'.*got 5000"):
        run.run(NetVictim(trained(real)), [], *pictures(20))


def test_a_part_that_is_done_stays_where_it_was() -> None:
    def part(count: int, trace: list[float]) -> Attacked:
        one = torch.zeros(count)
        return Attacked(torch.zeros(count, 1, 1, 1), one > 0, one, one.long(), trace)

    assert join([part(3, [0.0, 1.0, 2.0]), part(1, [4.0, 8.0]), part(2, [])]).trace == [1.0, 2.75, 3.5]


def test_a_row_is_what_the_attack_alone_leaves() -> None:
    images, labels = pictures()
    net = trained(real)
    subject = Subject(NetVictim(net), images, labels, Chunks(32), seed=0)
    attack = PGD(5)
    found = subject.attack(attack, 8 / 255)
    right = 0
    for index in range(len(images)):
        if net(images[index : index + 1]).argmax() != labels[index]:
            continue
        place = int(subject.right[:index].sum())
        right += int(net(found.images[place : place + 1]).argmax() == labels[index])
    assert subject.accuracy(found.broken).value == pytest.approx(right / len(images))


def test_chunks_do_not_change_what_does_not_draw() -> None:
    images, labels = pictures(50)
    whole = [
        Subject(NetVictim(trained(real)), images, labels, Chunks(size), 0)
        .attack(PGD(5, random_start=False), 8 / 255)
        .broken
        for size in (7, 50)
    ]
    assert torch.equal(*whole)


def test_running_out_of_memory_halves_the_chunk(caplog: pytest.LogCaptureFixture) -> None:
    images, labels = pictures(40)

    class Small(NetVictim):
        def __call__(self, images: Tensor) -> Tensor:
            if torch.is_grad_enabled() and len(images) > 10:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().__call__(images)

    subject = Subject(Small(trained(real)), images, labels, Chunks(32), 0)
    assert len(subject.attack(PGD(2), 4 / 255).broken) == len(subject.x)
    assert subject.chunks.size == 8
    assert "going on with 8" in caplog.text


def test_a_whole_study_in_little_memory(caplog: pytest.LogCaptureFixture) -> None:
    class Small(NetVictim):
        def __call__(self, images: Tensor) -> Tensor:
            if len(images) > 10:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().__call__(images)

    run = ClassifierStudy(Arsenal(2, queries=5), eps=4, ladder=(0, 1, 128), sweep=(4,), step_counts=(1, 2), chunk=32)
    found = run.run(Small(trained(real)), [], *pictures(40))
    assert found.rows
    assert "going on with 8" in caplog.text


def test_a_file_among_the_others_is_asked_and_not_differentiated() -> None:
    class File(NetVictim):
        differentiable = False

        def __init__(self, net: nn.Module, path: str) -> None:
            super().__init__(net, path)
            self.net, self.module = net, None

        def __call__(self, images: Tensor) -> Tensor:
            assert not images.requires_grad
            logits: Tensor = self.net(images)
            return logits

    run = ClassifierStudy(
        Arsenal(2, queries=5), ladder=(0, 128), sweep=(4,), step_counts=(1, 2), examinations=[TransferMatrix(steps=1)]
    )
    others = [File(trained(real), "file"), NetVictim(trained(binary), "twin")]
    found = run.run(NetVictim(trained(real)), others, *pictures(20))
    assert [row.attack for row in found.rows if "transfer" in row.attack] == ["transfer from twin"]
    assert found.twin_sensitivity is not None
    assert found.examined[0].to_json()["targets"] == ["net", "file", "twin"]


def test_a_failed_examination_costs_its_own_answer(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Examination):
        def run(self, subject: Subject, others: Sequence[Victim]) -> None:
            raise RuntimeError("no answer")

    run = ClassifierStudy(
        Arsenal(2, queries=5), ladder=(0, 128), sweep=(4,), step_counts=(1, 2), examinations=[Failing(), LossSlices()]
    )
    found = run.run(NetVictim(trained(real)), [], *pictures(20))
    assert [answer.name for answer in found.examined] == ["loss_slices"]
    assert "Failing is left out: no answer" in caplog.text


def test_the_ladder_goes_to_where_every_image_can_be_grey() -> None:
    arsenal = Arsenal(2, queries=5, norm="l2")
    run = ClassifierStudy(arsenal, eps=128, ladder=(0, 64, 128), sweep=(128,), step_counts=(1, 2))
    images, labels = pictures(20)
    found = run.run(NetVictim(trained(real)), [], images, labels)
    assert [255 * eps for eps, _ in found.ladder] == pytest.approx(
        [0, 64, 128, 127.5 * images[0].numel() ** 0.5], rel=1e-6
    )


def test_a_binary_net_has_its_sweep() -> None:
    found = study(trained(binary), (trained(real),))
    assert found.facts.binary
    assert set(found.surrogates) == {4 / 255}
    assert set(found.surrogates[4 / 255]) >= {"own", "identity", "tanh 3/σ"}
    assert found.sensitivity is not None
    assert found.sensitivity.flips
    assert found.twin_sensitivity is not None
    json.dumps(found.to_json(), allow_nan=False)
    assert "verdict:" in str(found)


def test_the_sweep_is_run_once_at_each_radius(monkeypatch: pytest.MonkeyPatch) -> None:
    radii: list[float] = []
    swept = SurrogateSweep.__call__

    def counted(self: SurrogateSweep, objective: Objective, images: Tensor, eps: float, generator: torch.Generator):
        radii.append(255 * eps)
        return swept(self, objective, images, eps, generator)

    monkeypatch.setattr(SurrogateSweep, "__call__", counted)
    run = ClassifierStudy(Arsenal(3, queries=20), eps=4, ladder=(0, 1, 2, 4, 8), sweep=(1, 4), step_counts=(1, 2))
    found = run.run(NetVictim(trained(binary)), [], *pictures(40))
    assert len(radii) >= 2
    assert sorted(radii) == pytest.approx([1, 2, 4, 8][: len(radii)])
    assert found.surrogates
    ladder = dict(found.ladder)
    for eps, members in found.surrogates.items():  # what the sweep lost is lost on the ladder too
        assert ladder[eps].value <= members["all"]


class Stepped(nn.Module):
    """Logits rounded: no gradient."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits.round() + 0 * logits


class Huge(Stepped):
    """Logits so large that the softmax is 1."""

    def forward(self, x: Tensor) -> Tensor:
        return 1e4 * self.net(x)


class Stochastic(Stepped):
    """Noise before the logits."""

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x + 0.02 * torch.randn(x.shape))
        return logits


@pytest.mark.parametrize(
    ("wrap", "label", "reason"),
    [
        (Stepped, "gradient masking suspected", "gradient of zero"),
        (Huge, "gradient masking suspected", "saturated"),
        (Stochastic, "gradient masking suspected", "outputs are random"),
    ],
)
def test_planted_nets_are_named(wrap: type[Stepped], label: str, reason: str) -> None:
    torch.manual_seed(0)
    verdict = study(wrap(trained(real))).verdict
    assert verdict.label == label
    assert any(reason in text for text in verdict.reasons)


def test_a_broken_attack_is_named() -> None:
    verdict = study(trained(real), arsenal=Arsenal(10, step_size=0.0, queries=60)).verdict
    assert verdict.label == "attack too weak"
    assert "cannot cross the ball" in verdict.reasons[0]


def tiny_run(folder: Path) -> tuple[dict, Path]:
    config = tiny_classification_config(folder / "train", 1)
    (folder / "train.yaml").write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(folder / "train.yaml")])
    return config, folder / "train" / "checkpoints" / "last.ckpt"


def test_command_line_writes_one_report(tmp_path: Path) -> None:
    config, checkpoint = tiny_run(tmp_path)
    victim = CheckpointVictim(checkpoint)
    assert victim.module is not None
    artifact = tmp_path / "net.safetensors"
    export(
        victim.module, artifact, example=torch.rand(2, 3, 32, 32), classes=victim.classes, resize=Resize(((32, 32),))
    )
    settings = {"arsenal": {"class_path": "Arsenal", "init_args": {"steps": 2, "queries": 5}}}
    settings |= {"ladder": [0, 1, 128], "sweep": [2], "step_counts": [1, 2]}
    for kind, path in (("CheckpointVictim", checkpoint), ("ArtifactVictim", artifact)):
        folder = tmp_path / kind
        task = {
            "victim": {"class_path": kind, "init_args": {"path": str(path)}},
            "others": [{"class_path": "CheckpointVictim", "init_args": {"path": str(checkpoint)}}],
            "study": {"class_path": "ClassifierStudy", "init_args": settings},
            "images": 6,
        }
        trainer = config["trainer"] | {
            "default_root_dir": str(folder),
            "callbacks": [{"class_path": "RobustnessReport"}],
            "inference_mode": False,
        }
        attacked = {
            "trainer": trainer,
            "model": {"class_path": "RobustnessTask", "init_args": task},
            "data": config["data"],
        }
        (tmp_path / "attack.yaml").write_text(yaml.safe_dump(attacked))
        main(["test", "--config", str(tmp_path / "attack.yaml")])
        written = {path.name for path in (folder / "robustness").iterdir()}
        assert {"results.json", "report.txt", "ladder.png", "attacks.png"} <= written
        results = json.loads((folder / "robustness" / "results.json").read_text())
        assert results["facts"]["images"] == 6
        assert results["verdict"]["label"] == "attack too weak"
    assert ("surrogates.png" in written) is False  # of the artifact


def refused(config: dict, verb: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    (folder / "refused.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(SystemExit):
        main([verb, "--config", str(folder / "refused.yaml")])
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_what_a_command_line_is_refused_for_fits_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, checkpoint = tiny_run(tmp_path)
    victim = {"class_path": "CheckpointVictim", "init_args": {"path": str(checkpoint)}}
    trainer = config["trainer"] | {"callbacks": [{"class_path": "RobustnessReport"}], "inference_mode": False}
    task = {"class_path": "RobustnessTask", "init_args": {"victim": victim, "images": 6}}
    good = {"trainer": trainer, "model": task, "data": config["data"]}
    assert "bnn-tasks test" in refused(good, "predict", tmp_path, capsys)
    assert "inference_mode: false" in refused(
        good | {"trainer": trainer | {"inference_mode": True}}, "test", tmp_path, capsys
    )
    other = trainer | {"callbacks": [{"class_path": "AttackReport"}]}
    line = refused(good | {"trainer": other}, "test", tmp_path, capsys)
    assert "Expected the task AttackTask, but got RobustnessTask" in line


def test_a_detectors_checkpoint_is_no_classifiers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny_config(tmp_path / "train", 1)
    config["trainer"]["callbacks"] = [{"class_path": "LastCheckpoint"}]
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(tmp_path / "train.yaml")])
    checkpoint = tmp_path / "train" / "checkpoints" / "last.ckpt"
    victim = {"class_path": "CheckpointVictim", "init_args": {"path": str(checkpoint)}}
    trainer = config["trainer"] | {"callbacks": [], "inference_mode": False}
    task = {"class_path": "RobustnessTask", "init_args": {"victim": victim}}
    line = refused({"trainer": trainer, "model": task, "data": config["data"]}, "test", tmp_path, capsys)
    assert "to be a classifier's, but it is a DetectionTask's. Cure: AttackTask" in line


def test_a_victim_in_train_mode_is_refused(tmp_path: Path) -> None:
    _, checkpoint = tiny_run(tmp_path)
    victim = CheckpointVictim(checkpoint)
    assert victim.module is not None
    victim.module.train()
    with pytest.raises(ValueError, match="eval mode"):
        victim(torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ClassifierStudy(eps=0), "eps"),
        (lambda: ClassifierStudy(eps=300), "`eps` in units of 1/255, from 0.05 to 255, but got 300"),
        (lambda: ClassifierStudy(ladder=(0, 300)), "`ladder` in units of 1/255"),
        (lambda: ClassifierStudy(step_counts=(0, 10)), "`step_counts` to be rising numbers >= 1"),
        (lambda: ClassifierStudy(ladder=(2, 1)), "ladder"),
        (lambda: ClassifierStudy(step_counts=()), "step_counts"),
        (lambda: ClassifierStudy(chunk=0), "size"),
        (lambda: ClassifierStudy(eps=8 / 255), "units of 1/255"),
        (lambda: ClassifierStudy(sweep=(0.004, 1)), "`sweep` in units of 1/255"),
        (lambda: Arsenal(norm="l1"), "norm"),
        (
            lambda: (
                study(trained(real)).ladder
                and Subject(NetVictim(real()), *(pictures()[0] * 300, pictures()[1]), Chunks(), 0)
            ),
            "0, 1",
        ),
    ],
)
def test_bad_arguments(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_an_artifact_of_another_kind_is_refused(tmp_path: Path) -> None:
    export(nn.Sequential(nn.Conv2d(3, 4, 3)).eval(), tmp_path / "a.safetensors", example=torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match="no probabilities"):
        ArtifactVictim(tmp_path / "a.safetensors")
