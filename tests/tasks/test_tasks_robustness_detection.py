"""Attacks on detectors against plain loops: goals, draws, independence of images, padding, AP and counts."""

import copy
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from naive import box_iou as naive_iou
from nets import retinanet, shake
from torch import Tensor
from two_stage_nets import faster_rcnn, sharpen

from bnn_tasks.backbones import RealBlock, RealUnit
from bnn_tasks.backbones.vgg16 import VGG16
from bnn_tasks.data import SyntheticDetectionData
from bnn_tasks.models import SSD, Detector, FasterRCNN, SSDExtras
from bnn_tasks.robustness.attacks.pgd import PGD
from bnn_tasks.robustness.objective import CrossEntropyObjective
from bnn_tasks.runtime.images import Placement
from bnn_tasks.tasks import DetectionTask
from bnn_tasks.tasks.robustness.canvas import Canvas
from bnn_tasks.tasks.robustness.detection_figures import (
    attacked_detection,
    count_detections,
    detect,
    detection_figures,
)
from bnn_tasks.tasks.robustness.detection_goals import (
    Classification,
    ClassWise,
    Combined,
    Fabrication,
    Mislabelling,
    Regression,
    Vanishing,
    background_loss,
)
from bnn_tasks.tasks.robustness.detection_objectives import (
    DetectionGoal,
    DetectionObjective,
    GoalAttack,
    Objects,
    OnDetected,
    detected_objects,
)

EPS = 8 / 255
NONE = torch.tensor([False])  # of one object
GOALS = [Classification, Regression, Combined, ClassWise, Vanishing, Fabrication, Mislabelling]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def real_ssd() -> SSD:
    return SSD(3, VGG16(RealUnit, 2), partial(SSDExtras, width=2, unit=RealUnit))


# Float64 where the detector allows it, so that rounding decides no sign; torchvision's NMS of proposals does not.
DETECTORS = {
    "retinanet": (retinanet, 64, torch.float64),
    "faster_rcnn": (lambda: sharpen(faster_rcnn()), 64, torch.float32),
    "ssd": (real_ssd, 260, torch.float64),
}


@pytest.fixture(scope="module", params=list(DETECTORS))
def case(request: pytest.FixtureRequest) -> tuple[Detector, Tensor, list[Objects]]:
    """A net and two images; the first one's objects are of two classes, and one is to be ignored."""
    build, size, dtype = DETECTORS[request.param]
    torch.manual_seed(0)
    net = shake(build()).to(dtype)
    images = torch.rand(2, 3, size, size, generator=seeded(1)).to(dtype)
    unit = size / 64
    first = torch.tensor([[4.0, 6, 30, 40], [20, 20, 60, 52], [36, 4, 60, 28], [2, 44, 18, 60]]).to(dtype) * unit
    targets = [
        Objects(first, torch.tensor([0, 0, 2, 1]), torch.tensor([False, False, False, True]), NONE.expand(4)),
        Objects(torch.tensor([[10.0, 12, 44, 50]]).to(dtype) * unit, torch.tensor([1]), NONE, NONE),
    ]
    return net, images, targets


def whole(images: Tensor) -> Canvas:
    height, width = images.shape[-2:]
    return Canvas.of(images, [Placement(1.0, 1.0, 0.0, 0.0, width, height)] * len(images))


def seeded_losses(net: Detector, images: Tensor, target: Objects, seed: int = 0) -> dict[str, Tensor]:
    """One image's training losses, with what is drawn drawn from the global generator's seed."""
    outputs = net(images)
    torch.manual_seed(seed)
    return net.loss(outputs, [target])


def test_losses_are_the_detectors_own_image_by_image(case: tuple) -> None:
    net, images, targets = case
    for i, target in enumerate(targets):
        losses = seeded_losses(net, images[i : i + 1], target)
        cls = sum(value for name, value in losses.items() if "cls" in name)
        box = sum(value for name, value in losses.items() if "box" in name)
        assert box > 0
        for goal, expected in ((Classification(), cls), (Regression(), box), (Combined(), cls + box)):
            found = DetectionObjective(net, targets, whole(images), goal)(images)
            torch.testing.assert_close(found[i], expected)


def test_class_wise_divides_by_the_objects_of_a_class(case: tuple) -> None:
    net, images, targets = case
    outputs = {name: [level[:1] for level in levels] for name, levels in net(images).items()}
    torch.manual_seed(0)
    each = []
    for kept in range(3):
        alone = Objects(targets[0].boxes, targets[0].labels, torch.arange(4) != kept, NONE.expand(4))
        each.append(sum(net.loss(outputs, [alone]).values()))
    torch.manual_seed(0)
    found = ClassWise()(net, outputs, targets[0])
    torch.testing.assert_close(found, (each[0] + each[1]) / 2 + each[2])


def naive_background(net: Detector, outputs: dict[str, list[Tensor]]) -> float:
    """Mean over anchors of -log P(background), with the probabilities written out."""

    def mean(maps: list[Tensor], columns: int, softmax: bool) -> float:
        terms = []
        for x in maps:
            for row in x[0].permute(1, 2, 0).reshape(-1, columns).numpy():
                if softmax:
                    terms.append(-math.log(math.exp(row[-1]) / np.exp(row).sum()))
                else:
                    terms.append(-math.log(np.prod(1 - 1 / (1 + np.exp(-row)))))
        return sum(terms) / len(terms)

    if "proposals" not in outputs:
        last = isinstance(net, SSD)
        return mean(outputs["cls_logits"], net.num_classes + last, last)
    boxes = outputs["proposals"][0][:, (outputs["proposals"][0][0, :, 2:] > outputs["proposals"][0][0, :, :2]).all(1)]
    logits = net.box_head(net.region_features(outputs, boxes))["cls_logits"]
    return mean(outputs["objectness"], 1, False) + mean(logits, net.num_classes + 1, True)


def test_vanishing_and_fabrication_are_minus_and_plus_the_background_loss(case: tuple) -> None:
    net, images, targets = case
    with torch.no_grad():
        outputs = net(images[:1])
        expected = naive_background(net, outputs)
        assert float(background_loss(net, outputs)) == pytest.approx(expected, rel=1e-6)
        vanishing = DetectionObjective(net, targets, whole(images), Vanishing())
        assert float(vanishing(images)[0]) == pytest.approx(-expected, rel=1e-6)
        assert torch.equal(vanishing.raising(Fabrication())(images), -vanishing(images))


def test_mislabelling_lowers_the_loss_of_the_wrong_classes(case: tuple) -> None:
    net, images, targets = case
    wrong = Objects(targets[0].boxes, torch.tensor([2, 2, 1, 0]), targets[0].ignore, targets[0].crowd)
    found = DetectionObjective(net, targets, whole(images), Mislabelling(2))(images)
    torch.testing.assert_close(found[0], -sum(seeded_losses(net, images[:1], wrong).values()))
    with pytest.raises(ValueError, match="no multiple of the number of classes, 3, but got 3"):
        DetectionObjective(net, targets, whole(images), Mislabelling(3))(images)


@pytest.mark.parametrize("goal", GOALS)
def test_a_step_along_the_gradient_raises_the_goal(case: tuple, goal: type[DetectionGoal]) -> None:
    """Of the head's own inputs, which are real-valued: a binary net's surrogate gradient promises nothing in the images."""
    net, images, targets = case
    with torch.no_grad():
        outputs = {name: [level[:1] for level in levels] for name, levels in net(images).items()}
    led = [level for name, levels in outputs.items() if name != "proposals" for level in levels]
    for level in led:
        level.requires_grad_()

    def value() -> Tensor:
        torch.manual_seed(0)
        return goal()(net, outputs, targets[0])

    before = value()
    gradients = torch.autograd.grad(before, led, allow_unused=True)
    norm = math.sqrt(sum(float(g.square().sum()) for g in gradients if g is not None))
    assert norm > 0
    with torch.no_grad():
        for level, gradient in zip(led, gradients, strict=True):
            if gradient is not None:
                level += 1e-4 / norm * gradient
    assert value() > before


@pytest.mark.parametrize("goal", [ClassWise, Fabrication])
def test_a_batch_is_attacked_as_its_images_one_by_one(case: tuple, goal: type[DetectionGoal]) -> None:
    net, images, targets = case
    objective = DetectionObjective(net, targets, whole(images), goal())
    attack = PGD(2, random_start=False)
    together = objective.attack(attack, EPS, seeded())
    assert not together.broken.any()
    for i in range(2):
        alone = objective.select(torch.tensor([i])).attack(attack, EPS, seeded())
        torch.testing.assert_close(alone.losses[0], together.losses[i])
        same = torch.isclose(alone.images[0], together.images[i]).float().mean()
        assert same == 1 if images.dtype == torch.float64 else same > 0.99


def test_goals_are_raised_and_nothing_else_changes(case: tuple) -> None:
    net, images, targets = case
    state = {name: value.clone() for name, value in net.state_dict().items()}
    draws = torch.get_rng_state()
    objective = DetectionObjective(net, targets, whole(images), Combined())
    for goal in (ClassWise, Fabrication, Mislabelling):
        with torch.no_grad():
            clean = objective.raising(goal())(images)
        found = objective.attack(GoalAttack(PGD(1), goal()), EPS, seeded())
        with torch.no_grad():
            torch.testing.assert_close(found.losses, objective(found.images))
            raised = objective.raising(goal())(found.images)
        # Faster R-CNN's draws differ from step to step.
        assert isinstance(net, FasterRCNN) or (raised >= clean - 1e-6).all()
        assert (found.images - images).abs().max() <= EPS * (1 + 1e-6)
        assert found.images.min() >= 0
        assert found.images.max() <= 1
    assert torch.equal(torch.get_rng_state(), draws), "the global generator is left alone"
    assert not net.training
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_draws_depend_on_progress_alone() -> None:
    torch.manual_seed(0)
    net = shake(sharpen(faster_rcnn()))
    net.rpn_loss.count = net.sampler.count = 8  # of hundreds, so that another draw is another loss
    images = torch.rand(1, 3, 64, 64, generator=seeded(1))
    targets = [Objects(torch.tensor([[4.0, 6, 30, 40]]), torch.tensor([0]), NONE, NONE)]
    objective = DetectionObjective(net, targets, whole(images), Combined())
    values = [float(objective(images, progress).detach()) for progress in (0.0, 0.0, 0.5, 0.5, 1.0)]
    assert values[0] == values[1]
    assert values[2] == values[3]
    assert len(set(values)) == 3
    assert float(DetectionObjective(net, targets, whole(images), Combined(), seed=5)(images).detach()) not in values


def test_images_without_objects_are_legal(case: tuple) -> None:
    net, images, targets = case
    empty = Objects(images.new_zeros(0, 4), torch.zeros(0, dtype=torch.int64), NONE[:0], NONE[:0])
    images = images.clone()
    for goal in GOALS:
        objective = DetectionObjective(net, [targets[0], empty], whole(images), goal())
        values = objective(images.requires_grad_())
        assert torch.isfinite(values).all()
        assert torch.isfinite(torch.autograd.grad(values.sum(), images)[0]).all()


def test_padding_is_untouched() -> None:
    torch.manual_seed(0)
    net = shake(retinanet(block=RealBlock, unit=RealUnit))
    images = torch.rand(2, 3, 32, 64, generator=seeded(1))
    canvas = Canvas.of(images, [Placement(1.0, 1.0, 16.0, 0.0, 32, 32), Placement(2.0, 2.0, 0.0, 8.0, 32, 8)])
    targets = [Objects(torch.tensor([[20.0, 4, 44, 28]]), torch.tensor([0]), NONE, NONE)] * 2
    objective = DetectionObjective(net, targets, canvas, Combined())
    with torch.no_grad():
        assert torch.equal(objective(torch.where(canvas.inside, images, 0.9)), objective(images)), "seen as it was"
        assert not torch.equal(objective(torch.where(canvas.inside, 0.9, images)), objective(images))
    found = objective.attack(PGD(4), EPS, seeded())
    changed = (found.images != images).any(1)
    assert not changed[0, :, :16].any()
    assert not changed[0, :, 48:].any()
    assert not changed[1, :8].any()
    assert not changed[1, 24:].any()
    assert changed[0, :, 16:48].float().mean() > 0.9
    assert changed[1, 8:24].float().mean() > 0.9


def test_detected_objects_are_targets(case: tuple) -> None:
    net, images = copy.deepcopy(case[0]).float(), case[1].float()
    with torch.no_grad():
        found = net.decode(net(images), images.shape[-2:])
    threshold = float(torch.cat([boxes.scores for boxes in found]).median())
    targets = detected_objects(net, images, threshold)
    for target, boxes in zip(targets, found, strict=True):
        count = int((boxes.scores >= threshold).sum())
        assert torch.equal(target.boxes, boxes.boxes[:count])
        assert torch.equal(target.labels, boxes.labels[:count])
        assert not target.ignore.any()
    assert torch.isfinite(DetectionObjective(net, targets, whole(images), Combined())(images)).all()


def test_the_untargeted_attack_needs_no_truth(case: tuple) -> None:
    """TOG's raises the loss of what the detector found, whatever the truth is."""
    net, images = copy.deepcopy(case[0]).float(), case[1].float()
    with torch.no_grad():
        scores = torch.cat([boxes.scores for boxes in net.decode(net(images), images.shape[-2:])])
    threshold = float(scores.median()) if len(scores) else 0.5
    attack = OnDetected(GoalAttack(PGD(2, random_start=False), Combined()), threshold)
    found = detected_objects(net, images, threshold)
    truths = [[Objects(one.boxes[:k], one.labels[:k], one.ignore[:k], one.crowd[:k]) for one in found] for k in (0, 1)]
    made = [
        attack(DetectionObjective(net, truth, whole(images), Vanishing()), images, EPS, seeded()).images
        for truth in truths
    ]
    aimed = DetectionObjective(net, found, whole(images), Combined())
    expected = PGD(2, random_start=False)(aimed, images, EPS, seeded()).images
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], expected)
    with pytest.raises(ValueError, match="score_threshold"):
        OnDetected(PGD(1), 2)


def test_bad_input_is_refused() -> None:
    net, images = shake(retinanet()), torch.rand(1, 3, 64, 64)
    with pytest.raises(ValueError, match="a target an image"):
        DetectionObjective(net, [], whole(images), Combined())
    with pytest.raises(TypeError, match="DetectionObjective"):
        GoalAttack(PGD(1), Combined())(
            CrossEntropyObjective(net.eval(), torch.zeros(1, dtype=torch.int64)), images, EPS, seeded()
        )
    with pytest.raises(TypeError, match="RetinaNet, SSD or FasterRCNN, but got Detector"):
        background_loss(Detector(), {})
    with pytest.raises(ValueError, match="`offset` to be >= 1"):
        Mislabelling(0)


# ------------------------------------------------------------------------------------------------ figures


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[DetectionTask, list, list]:
    folder: Path = tmp_path_factory.mktemp("data")
    data = SyntheticDetectionData(folder, sizes=[(64, 64)], images=20, image_size=(48, 64), batch_size=2)
    data.prepare_data()
    data.setup("fit")
    torch.manual_seed(0)
    task = DetectionTask(
        partial(retinanet, width=4, channels=4, score_threshold=0.0), data.class_names, torch.optim.SGD
    )
    shake(task.model)
    task.eval()
    batches = list(data.val_dataloader())
    attack = GoalAttack(PGD(5), Fabrication())
    return task, batches, list(attacked_detection(task, batches, attack, EPS, seeded()))


def test_attacked_batches_go_to_the_same_metrics(evaluated: tuple) -> None:
    task, batches, attacked = evaluated
    for before, after in zip(batches, attacked, strict=True):
        assert after.targets is before.targets
        assert 0 < float((after.images - before.images).abs().max()) <= EPS * (1 + 1e-6)
        with torch.no_grad():
            for i in range(len(before.images)):
                clean, now = (
                    background_loss(task.model, task(batch.images[i : i + 1].contiguous())) for batch in (before, after)
                )
                assert now >= clean - 1e-5
    figures = detection_figures(detect(task, attacked), task.classes)
    assert {"ap", "ap50", "voc_ap50_area"} <= set(figures)


def test_counts_are_those_of_plain_loops(evaluated: tuple) -> None:
    task, batches, _ = evaluated
    images = detect(task, batches)
    for image in images:  # as of a net that finds something: objects, moved, every other one with another class
        labels = image.target.labels.numpy()
        image.boxes = np.concatenate([image.target.image_boxes.numpy() + 1, image.boxes[:3]]).astype(np.float32)
        image.labels = np.concatenate([(labels + np.arange(len(labels)) % 2) % 3, image.labels[:3]])
        image.scores = np.linspace(0.9, 0.2, len(image.boxes)).astype(np.float32)
    right = named = missed = made = boxes = 0
    for image in images:
        target = image.target
        true, ignored = target.image_boxes.numpy(), (target.crowd | target.difficult).numpy()
        free = set(np.flatnonzero(~ignored))
        for box, score, label in zip(image.boxes, image.scores, image.labels, strict=True):
            if score < 0.3:
                continue
            boxes += 1
            iou = [naive_iou(box, other) for other in true]
            best = max(free, key=iou.__getitem__, default=None)
            if best is not None and iou[best] >= 0.5:
                free.remove(best)
                right += int(label == target.labels[best])
                named += int(label != target.labels[best])
            elif not any(iou[g] >= 0.5 for g in np.flatnonzero(ignored)):
                made += 1
        missed += len(free)
    found = count_detections(images, task.classes)
    assert (found.boxes, found.true_positives, found.mislabelled, found.missed, found.made_up) == (
        boxes,
        right,
        named,
        missed,
        made,
    )
    assert min(right, named) > 0
