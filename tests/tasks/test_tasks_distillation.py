"""Distillation of detectors: each term against its formula in numpy, teachers that leave no trace, a run through the CLI."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import yaml
from configs_for_tests import tiny_config
from nets import retinanet
from two_stage_nets import faster_rcnn

from bnn_tasks.cli import main
from bnn_tasks.models import Boxes
from bnn_tasks.models.anchors import decode
from bnn_tasks.tasks import (
    CheckpointTeacher,
    Distillation,
    ProposalImitation,
    PyramidImitation,
    ResponseImitation,
    TorchvisionDetectorTeacher,
)
from bnn_tasks.tasks.checkpoint import load_task
from bnn_tasks.tasks.distillation import TeacherView

SIZE = (64, 64)


def view(detector: Any, images: torch.Tensor) -> TeacherView:
    with torch.no_grad():
        features = detector.features(images)
        outputs = detector.raw_outputs(features, SIZE)
    return TeacherView(features, detector.feature_strides, outputs, lambda: detector.decode(outputs, SIZE))


def nets() -> tuple[Any, Any, torch.Tensor]:
    torch.manual_seed(0)
    student, teacher = retinanet(), retinanet()
    for net in (student, teacher):
        net.score_threshold = 0.0
    return student.eval(), teacher.eval(), torch.rand(2, 3, *SIZE)


def test_pyramid_imitation_is_one_minus_the_correlation() -> None:
    student, teacher, images = nets()
    term = PyramidImitation(weight=3.0)
    term.bind(student)
    features = student.features(images)
    found = term(student, features, {}, SIZE, seen := view(teacher, images))
    expected = []
    for mine, theirs in zip(features, seen.features):
        for channel in range(mine.shape[1]):
            a, b = (x[:, channel].detach().numpy().ravel() for x in (mine, theirs))
            if a.std() > 1e-3 and b.std() > 1e-3:
                expected.append(1 - np.corrcoef(a, b)[0, 1])
    assert float(found.detach()) == pytest.approx(3 * np.mean(expected), rel=2e-2)
    assert float(term(student, seen.features, {}, SIZE, seen)) == pytest.approx(0, abs=1e-6)


def test_pyramid_imitation_does_not_see_how_large_features_are() -> None:
    student, teacher, images = nets()
    term = PyramidImitation()
    term.bind(student)
    seen = view(teacher, images)
    scaled = [x * 7 + 2 for x in seen.features]
    assert float(term(student, scaled, {}, SIZE, seen)) == pytest.approx(0, abs=1e-3)


def test_an_adapter_bridges_other_channels() -> None:
    student, teacher, images = nets()
    seen = view(teacher, images)
    seen.features = [torch.cat([x, x], 1) for x in seen.features]
    bare, bridged = PyramidImitation(), PyramidImitation(teacher_channels=seen.features[0].shape[1])
    bare.bind(student), bridged.bind(student)
    with pytest.raises(ValueError, match="Cure: `teacher_channels=16`"):
        bare(student, student.features(images), {}, SIZE, seen)
    bridged(student, student.features(images), {}, SIZE, seen).backward()
    assert all(p.grad is not None for p in bridged.parameters())


def test_levels_are_matched_by_stride() -> None:
    student, teacher, images = nets()
    term = PyramidImitation()
    term.bind(student)
    features, seen = student.features(images), view(teacher, images)
    one = TeacherView(seen.features[1:2], seen.strides[1:2], None, list)
    alone = PyramidImitation()
    alone.bind(student)
    student_one = [features[0].new_zeros(1), features[1], features[2].new_zeros(1)]
    assert torch.equal(term(student, features, {}, SIZE, one), alone(student, student_one, {}, SIZE, one))
    with pytest.raises(ValueError, match="levels of one stride"):
        term(student, features, {}, SIZE, TeacherView(seen.features, [3, 5, 7], None, list))


def test_response_imitation_is_its_formula() -> None:
    student, teacher, images = nets()
    outputs, seen = student(images), view(teacher, images)
    assert seen.outputs is not None
    for maps in seen.outputs["cls_logits"]:
        maps += 4.2 + 0.3 * torch.randn_like(maps)  # scores on both sides of `least`
    found = ResponseImitation(weight=2.0, box_weight=3.0, least=0.4)(student, [], outputs, SIZE, seen)
    total = worth_sum = 0.0
    anchors = torch.cat(student.anchors(outputs["cls_logits"])).numpy()
    (s, sd), (t, td) = (
        (x.detach().numpy().astype(np.float64) for x in student.rows(o)) for o in (outputs, seen.outputs)
    )
    for image in range(len(s)):
        for row in range(s.shape[1]):
            p, q = 1 / (1 + np.exp(-s[image, row])), 1 / (1 + np.exp(-t[image, row]))
            total += float(((p - q) ** 2 * -(q * np.log(p) + (1 - q) * np.log(1 - p))).sum())
            if q.max() > 0.4:
                a, b = (
                    decode(torch.tensor(x[image, row : row + 1]), torch.tensor(anchors[row : row + 1]).double())[
                        0
                    ].numpy()
                    for x in (sd, td)
                )
                total += 3 * q.max() * (1 - giou(a, b))
                worth_sum += q.max()
    assert worth_sum > 1
    assert float(found.detach()) == pytest.approx(2 * total / worth_sum, rel=1e-4)


def giou(a: np.ndarray, b: np.ndarray) -> float:
    inner = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return float(inner / union - (hull - union) / hull)


def test_response_imitation_wants_the_twin() -> None:
    student, _, images = nets()
    with pytest.raises(ValueError, match="real twin as CheckpointTeacher"):
        ResponseImitation()(student, [], student(images), SIZE, TeacherView([], [], None, list))


def test_proposal_imitation_is_nothing_for_equals_and_pulls_together() -> None:
    student, teacher, images = nets()
    term = ProposalImitation(boxes=4, size=3)
    term.bind(student)
    seen = view(teacher, images)
    outputs = student(images)
    assert float(term(student, seen.features, outputs, SIZE, seen)) == pytest.approx(0, abs=1e-5)
    features = [x.detach().requires_grad_() for x in student.features(images)]
    first = term(student, features, outputs, SIZE, seen)
    first.backward()
    moved = [x.detach() - (0 if x.grad is None else 50 * x.grad) for x in features]
    assert 0 < float(term(student, moved, outputs, SIZE, seen)) < float(first.detach())


def test_proposal_imitation_without_a_box_is_zero() -> None:
    student, teacher, images = nets()
    student.score_threshold = 0.999
    term = ProposalImitation()
    term.bind(student)
    nothing = Boxes(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    seen = view(teacher, images)
    empty = TeacherView(seen.features, seen.strides, seen.outputs, lambda: [nothing, nothing])
    loss = term(student, student.features(images), student(images), SIZE, empty)
    loss.backward()
    assert float(loss.detach()) == 0


def test_terms_and_their_ranges() -> None:
    teacher = CheckpointTeacher("nowhere.ckpt")
    with pytest.raises(ValueError, match="at least one of `terms`"):
        Distillation(teacher, [])
    with pytest.raises(ValueError, match="`until` in"):
        Distillation(teacher, [PyramidImitation()], until=0)
    for wrong in (lambda: PyramidImitation(-1), lambda: ResponseImitation(least=1), lambda: ProposalImitation(size=1)):
        with pytest.raises(ValueError, match="Expected"):
            wrong()


def test_imitation_ends_when_it_should() -> None:
    student, _, images = nets()
    distillation = Distillation(CheckpointTeacher("nowhere.ckpt"), [PyramidImitation()], until=0.5)
    assert distillation(student, images, [], {}, [], 0.6) == {}


def test_a_teacher_that_is_missing_is_named() -> None:
    student, _, images = nets()
    distillation = Distillation(CheckpointTeacher("nowhere.ckpt"), [PyramidImitation()])
    with pytest.raises(ValueError, match=r"'nowhere\.ckpt' to exist"):
        distillation(student, images, [], {}, [], 0.0)


def test_torchvision_teachers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise URLError("no route")

    from bnn_tasks.tasks.distillation import teacher as module

    real = module.get_model
    net = real("retinanet_resnet50_fpn", weights=None, weights_backbone=None, num_classes=4)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    seen = TorchvisionDetectorTeacher("retinanet_resnet50_fpn", str(tmp_path / "net.pth"), 4)(torch.rand(1, 3, 64, 96))
    assert seen.strides == [8, 16, 32, 64, 128]
    assert [tuple(x.shape[2:]) for x in seen.features][:3] == [(8, 12), (4, 6), (2, 3)]
    with pytest.raises(ValueError, match="state_dict of a 'retinanet_resnet50_fpn'"):
        TorchvisionDetectorTeacher("retinanet_resnet50_fpn", str(tmp_path / "net.pth"))(torch.rand(1, 3, 64, 64))
    monkeypatch.setattr(module, "get_model", offline)
    with pytest.raises(ValueError, match=r"download the weights of 'retinanet_resnet50_fpn'.*Cure: a connection"):
        TorchvisionDetectorTeacher("retinanet_resnet50_fpn")(torch.rand(1, 3, 64, 64))


def test_response_imitation_refuses_another_student_before_training() -> None:
    with pytest.raises(ValueError, match=r"to be a RetinaNet, but got a FasterRCNN.*Cure: PyramidImitation"):
        ResponseImitation().bind(faster_rcnn())
    ResponseImitation().bind(nets()[0])


def test_strides_of_a_torchvision_teacher_are_those_of_its_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    from bnn_tasks.tasks.distillation import teacher as module

    real = module.get_model
    monkeypatch.setattr(module, "get_model", lambda name, **_: real(name, weights=None, weights_backbone=None))
    images = torch.rand(1, 3, 128, 192)
    seen = TorchvisionDetectorTeacher("fasterrcnn_mobilenet_v3_large_fpn")(images)
    assert [(128 // stride, 192 // stride) for stride in seen.strides] == [tuple(x.shape[2:]) for x in seen.features]


@pytest.mark.parametrize("name", ["ssd300_vgg16", "nonsense", "resnet18", "retinanet_resnet50_fpn_v3"])
def test_a_torchvision_teacher_without_a_pyramid_is_refused_before_any_download(name: str) -> None:
    with pytest.raises(ValueError, match=rf"with a feature pyramid, but got '{name}'.*Cure: .*retinanet_resnet50_fpn"):
        TorchvisionDetectorTeacher(name)


def test_a_student_learns_from_its_twin_and_opens_without_it(tmp_path: Path) -> None:
    config = tiny_config(tmp_path / "twin", epochs=1)
    (tmp_path / "twin.yaml").write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(tmp_path / "twin.yaml")])
    checkpoint = tmp_path / "twin" / "checkpoints" / "last.ckpt"
    terms = [{"class_path": name} for name in ("PyramidImitation", "ResponseImitation", "ProposalImitation")]
    teacher = {"class_path": "CheckpointTeacher", "init_args": {"path": str(checkpoint)}}
    config = tiny_config(tmp_path / "student", epochs=1)
    config["data"]["init_args"]["root"] = str(tmp_path / "twin" / "set")
    config["model"]["init_args"]["auxiliary"] = [
        {"class_path": "Distillation", "init_args": {"teacher": teacher, "terms": terms}}
    ]
    (tmp_path / "student.yaml").write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(tmp_path / "student.yaml")])
    checkpoint.unlink()
    task = load_task(tmp_path / "student" / "checkpoints" / "last.ckpt")
    assert not any("teacher" in key for key in task.state_dict())
