"""Attacks on segmenters against closed forms and plain loops: objective, iterates kept, padding, figures."""

import math
import weakref
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import shake
from segmentation_oracle import CLASSES, Oracle, mask_data, segmentation_task, write_set
from segmenter_nets import segmenter
from torch import Tensor, nn

from bnn_tasks.binary import STE, attack_surrogate, spread_tanh
from bnn_tasks.metrics.segmentation import VOID, confusion
from bnn_tasks.models.resize import resize_bilinear
from bnn_tasks.robustness.attacks.base import Attack, Attacked
from bnn_tasks.robustness.attacks.pgd import PGD
from bnn_tasks.robustness.attacks.reduced_radius import ReducedRadiusAPGD
from bnn_tasks.robustness.attacks.surrogate_sweep import SurrogateSweep
from bnn_tasks.robustness.norms import get_norm
from bnn_tasks.robustness.objective import CrossEntropyObjective
from bnn_tasks.robustness.segmentation_losses import (
    CosPGDLoss,
    JensenShannon,
    MaskedCrossEntropy,
    MaskedSpherical,
    PixelCrossEntropy,
    PixelLoss,
    SegPGDLoss,
    mean_of_pixels,
    right_pixels,
)
from bnn_tasks.runtime.images import Placement, Resize
from bnn_tasks.tasks import SegmentationTask
from bnn_tasks.tasks.robustness.canvas import Canvas
from bnn_tasks.tasks.robustness.segmentation_attacks import PixelAttack, WorstImages, sea
from bnn_tasks.tasks.robustness.segmentation_figures import (
    attacked_segmentation,
    image_miou,
    score_segmentation,
    segmentation_figures,
    worst_pictures,
)
from bnn_tasks.tasks.robustness.segmentation_objectives import SegmentationObjective

LOSSES = [PixelCrossEntropy, SegPGDLoss, CosPGDLoss, MaskedCrossEntropy, MaskedSpherical, JensenShannon]
EPS = 8 / 255


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Linear(nn.Module):
    """A class a pixel from its own colour: the worst that a change of ε can do is known."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.tensor([[3.0, -2.0, 1.0], [-1.0, 2.0, 2.0]])

    def forward(self, images: Tensor) -> Tensor:
        return torch.einsum("kc,bchw->bkhw", self.weight, images)

    def worst(self, images: Tensor, masks: Tensor, eps: float) -> Tensor:
        """Right pixels an image after every pixel's own best change within ε and [0, 1]."""
        own = torch.where(masks == 0, 1.0, -1.0)[:, None] * (self.weight[1] - self.weight[0]).view(3, 1, 1)
        return right_pixels(self((images + eps * own.sign()).clamp(0, 1)), masks).flatten(1).sum(1)


def linear_case() -> tuple[Linear, Tensor, Tensor]:
    """Right everywhere but in the void rim and one wrong pixel an image."""
    images = torch.rand(3, 3, 6, 8, generator=seeded(2)) * 0.8 + 0.1
    masks = Linear()(images).argmax(1)
    masks[:, 2, 2] = 1 - masks[:, 2, 2]
    masks[:, 0] = VOID
    return Linear(), images, masks


def whole(images: Tensor) -> Canvas:
    height, width = images.shape[-2:]
    return Canvas.of(images, [Placement(1.0, 1.0, 0.0, 0.0, width, height)] * len(images))


@pytest.mark.parametrize("loss", LOSSES)
def test_the_value_is_cross_entropy_and_the_gradient_the_losses(loss: type[PixelLoss]) -> None:
    net, images, masks = linear_case()
    objective = SegmentationObjective(net, masks, whole(images), loss())
    images.requires_grad_()
    (found,) = torch.autograd.grad(objective(images, 0.4).sum(), images)
    (expected,) = torch.autograd.grad(mean_of_pixels(loss()(net(images), masks, 0.4), masks).sum(), images)
    torch.testing.assert_close(found, expected)
    assert torch.equal(objective(images, 0.4), objective.raising(PixelCrossEntropy())(images))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_linear_nets_worst_case_is_reached(loss: type[PixelLoss]) -> None:
    net, images, masks = linear_case()
    objective = SegmentationObjective(net, masks, whole(images))
    found = objective.attack(PixelAttack(PGD(10, 0.25, random_start=False), loss()), EPS, seeded())
    expected = net.worst(images, masks, EPS)
    right = objective.right(objective.logits(found.images))
    assert torch.equal(right, expected)
    assert (right < objective.right(objective.logits(images))).all()
    assert torch.equal(found.broken, expected == 0)
    assert torch.equal(found.images[:, :, 0], images[:, :, 0]), "void pixels have no gradient"
    cross_entropy = torch.nn.functional.cross_entropy(net(found.images), masks, ignore_index=VOID, reduction="none")
    torch.testing.assert_close(found.losses, cross_entropy.flatten(1).sum(1) / (masks != VOID).flatten(1).sum(1))


def test_running_out_of_memory_halves_the_batch(caplog: pytest.LogCaptureFixture) -> None:
    _, images, masks = linear_case()
    failed: list[weakref.ref[Tensor]] = []

    class Small(Linear):
        def forward(self, images: Tensor) -> Tensor:
            assert not any(one() is not None for one in failed), "an attempt that failed is still in memory"
            if torch.is_grad_enabled() and len(images) > 1:
                failed.append(weakref.ref(images))
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(images)

    attack = PixelAttack(PGD(10, 0.25, random_start=False), PixelCrossEntropy())
    expected = SegmentationObjective(Linear(), masks, whole(images)).attack(attack, EPS, seeded())
    found = SegmentationObjective(Small(), masks, whole(images)).attack(attack, EPS, seeded())
    assert torch.equal(found.images, expected.images)
    assert torch.equal(found.broken, expected.broken)
    assert "out of memory with 3 images at a time; halving the batch" in caplog.text


def test_an_image_is_lost_without_right_pixels_and_void_all_over_from_the_start() -> None:
    net, images, masks = linear_case()
    masks[1] = VOID
    objective = SegmentationObjective(net, masks, whole(images))
    assert objective.broken(images).tolist() == [False, True, False]
    wrong = SegmentationObjective(net, torch.where(masks == VOID, masks, 1 - net(images).argmax(1)), whole(images))
    assert wrong.broken(images).tolist() == [True, True, True]
    found = objective.attack(PixelAttack(PGD(3), PixelCrossEntropy()), EPS, seeded())
    assert torch.equal(found.images[1], images[1])
    losses, broken = objective.judged(images, 0.5)
    assert torch.equal(losses, objective(images, 0.5))
    assert torch.equal(broken, objective.broken(images))
    assert losses[1] == 0


def test_letterbox_padding_is_untouched_and_the_ball_is_kept() -> None:
    resize, rng = Resize(((24, 24),)), np.random.default_rng(0)
    pictures = [rng.integers(0, 256, size, np.uint8) for size in ((10, 30, 3), (30, 10, 3), (24, 24, 3))]
    fitted = [resize.fit(picture) for picture in pictures]
    images = torch.stack([torch.from_numpy(canvas).permute(2, 0, 1).float() / 255 for canvas, _ in fitted])
    canvas = Canvas.of(images, [placement for _, placement in fitted])
    # A canvas of the picture's own place, drawn by the resize itself.
    drawn = [resize.fit(np.full_like(picture, 255))[0][..., 0] == 255 for picture in pictures]
    assert np.array_equal(canvas.inside[:, 0].numpy(), np.stack(drawn))
    net = shake(segmenter("skip", "react"))
    masks = SegmentationObjective(net, torch.zeros(3, 24, 24, dtype=torch.int64), canvas).logits(images).argmax(1)
    objective = SegmentationObjective(net, masks, canvas)
    with torch.no_grad():
        assert torch.equal(objective(torch.where(canvas.inside, images, 0.9)), objective(images)), "seen as it was"
        assert not torch.equal(objective(torch.where(canvas.inside, 0.9, images)), objective(images))
    for norm, eps in (("linf", EPS), ("l2", 1.0)):
        found = objective.attack(PixelAttack(PGD(3, norm=norm), PixelCrossEntropy()), eps, seeded())
        change = (found.images - images).flatten(1)
        length = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
        assert (length <= eps * (1 + 1e-5)).all()
        assert length.max() > 0  # a picture that no iterate made worse stays as it was
        assert found.images.min() >= 0
        assert found.images.max() <= 1
        assert torch.equal(torch.where(canvas.inside, 0, found.images), torch.where(canvas.inside, 0, images))


@pytest.mark.parametrize("scale", [(-0.5, 0.5), (0.4, -0.7)])
def test_a_flipped_picture_lies_where_its_mirror_image_does(scale: tuple[float, float]) -> None:
    x, y = scale
    placement = Placement(x, y, 3.0 - min(0, 20 * x), 2.0 - min(0, 10 * y), 20, 10)
    straight = Placement(abs(x), abs(y), 3.0, 2.0, 20, 10)
    images = torch.zeros(1, 3, 16, 20)
    assert torch.equal(Canvas.of(images, [placement]).inside, Canvas.of(images, [straight]).inside)
    assert int(Canvas.of(images, [straight]).inside.sum()) == round(20 * abs(x)) * round(10 * abs(y))


@pytest.mark.parametrize("kind", ["real", "react"])
def test_a_batch_is_attacked_as_its_images_one_by_one(kind: str) -> None:
    torch.manual_seed(0)
    net = shake(segmenter("skip", kind)).double()  # so that rounding decides no sign
    images = torch.rand(3, 3, 32, 32, generator=seeded(3)).double()
    masks = torch.randint(0, 3, (3, 32, 32), generator=seeded(4))
    objective = SegmentationObjective(net, masks, whole(images))
    attack = PixelAttack(PGD(3, random_start=False), SegPGDLoss())
    together = objective.attack(attack, EPS, seeded())
    for i in range(3):
        alone = objective.select(torch.tensor([i])).attack(attack, EPS, seeded())
        torch.testing.assert_close(alone.images[0], together.images[i])
        torch.testing.assert_close(alone.losses[0], together.losses[i])


class Visits(Attack):
    """Shows the objective some iterates and returns the last."""

    name, norm, needs_gradient = "visits", get_norm("linf"), False

    def __init__(self, *iterates: Tensor) -> None:
        self.iterates, self.seen = iterates, 0

    def __call__(self, objective, images: Tensor, eps: float, generator: torch.Generator) -> Attacked:
        self.seen = len(images)
        for iterate in self.iterates:
            losses, broken = objective.judged(iterate)
        return Attacked(iterate, broken, losses, torch.full((len(images),), len(self.iterates)))


def grey(*values: float) -> Tensor:
    """One-row images, a brightness a pixel."""
    return torch.tensor(values).view(1, 1, 1, -1).expand(1, 3, 1, -1).clone()


class Bright(nn.Module):
    """Class 1 above ½."""

    def forward(self, images: Tensor) -> Tensor:
        z = 10 * (images.mean(1, keepdim=True) - 0.5)
        return torch.cat([-z, z], 1)


def test_the_iterate_with_the_fewest_right_pixels_is_kept_not_the_largest_loss() -> None:
    images, masks = grey(0.9, 0.9, 0.9, 0.9), torch.ones(1, 1, 4, dtype=torch.int64)
    two_wrong, one_very_wrong = grey(0.49, 0.49, 0.51, 0.51), grey(0.0, 0.9, 0.9, 0.9)
    objective = SegmentationObjective(Bright(), masks, whole(images))
    assert objective(one_very_wrong) > objective(two_wrong)
    found = objective.attack(PixelAttack(Visits(images, two_wrong, one_very_wrong), PixelCrossEntropy()), 1.0, seeded())
    assert torch.equal(found.images, two_wrong)
    assert found.queries.tolist() == [4]


def test_the_worst_attack_of_every_image_and_survivors_only() -> None:
    images = torch.cat([grey(0.9, 0.9), grey(0.9, 0.9), grey(0.9, 0.9)])
    masks = torch.ones(3, 1, 2, dtype=torch.int64)
    first = Visits(torch.cat([grey(0.1, 0.1), grey(0.1, 0.9), grey(0.9, 0.9)]))
    second = Visits(torch.cat([grey(0.9, 0.2), grey(0.9, 0.2)]))
    objective = SegmentationObjective(Bright(), masks, whole(images))
    found = objective.attack(WorstImages([first, second, second]), 1.0, seeded())
    assert (first.seen, second.seen) == (3, 2)
    expected = torch.cat([grey(0.1, 0.1), grey(0.1, 0.9), grey(0.9, 0.2)])
    assert torch.equal(found.images, expected)
    assert found.broken.tolist() == [True, False, False]


def test_a_sweep_of_surrogates_inside_keeps_the_worst_iterate_of_all_members() -> None:
    torch.manual_seed(0)
    net = shake(segmenter("skip", "react"))
    images = torch.rand(2, 3, 32, 32, generator=seeded(5))
    with torch.no_grad():
        usual = net(images).mean((0, 2, 3), keepdim=True)  # without it one class wins everywhere, whatever the image
        masks = resize_bilinear(net(images) - usual, (32, 32)).argmax(1)
    objective = SegmentationObjective(lambda x: net(x) - usual, masks, whole(images))
    attack = PGD(2, random_start=False)
    members = {"tanh 3/σ": spread_tanh(3), "identity": STE()}
    found = objective.attack(PixelAttack(SurrogateSweep(attack, members), SegPGDLoss()), 0.1, seeded())
    rights = []
    for surrogate in (None, *members.values()):
        with nullcontext() if surrogate is None else attack_surrogate(surrogate):
            alone = objective.attack(PixelAttack(attack, SegPGDLoss()), 0.1, seeded())
        rights.append(objective.right(objective.logits(alone.images)))
    assert torch.equal(objective.right(objective.logits(found.images)), torch.stack(rights).amin(0))
    assert len({tuple(right.tolist()) for right in rights}) > 1, "the members differ"


def test_bad_input_is_refused() -> None:
    net, images, masks = linear_case()
    with pytest.raises(ValueError, match=r"masks on the canvas"):
        SegmentationObjective(net, masks[:, 1:], whole(images))
    with pytest.raises(ValueError, match=r"classes 0 … 1, or 255 for void, but got \[2\]"):
        SegmentationObjective(net, masks.where(masks != 0, 2), whole(images))(images)
    with pytest.raises(ValueError, match="a placement an image"):
        Canvas.of(images, [])
    with pytest.raises(ValueError, match="at least one attack"):
        WorstImages([])
    for attack in (PixelAttack(PGD(1), PixelCrossEntropy()), WorstImages([PGD(1)])):
        with pytest.raises(TypeError, match="SegmentationObjective"):
            attack(CrossEntropyObjective(net.eval(), torch.zeros(3, dtype=torch.int64)), images, EPS, seeded())


class Records(SegmentationObjective):
    """Remembers how far from the originals it was called, and how far it judged."""

    called: list[float]
    asked: list[float]

    def logits(self, images: Tensor) -> Tensor:
        self.called.append(float((images.detach() - self.canvas.images).abs().max()))
        return super().logits(images)

    def judged(self, images: Tensor, progress: float = 0.0) -> tuple[Tensor, Tensor]:
        self.asked.append(float((images.detach() - self.canvas.images).abs().max()))
        return super().judged(images, progress)

    def select(self, index: Tensor) -> "Records":
        found = Records(self.model, self.masks[index], self.canvas.select(index), self.loss)
        found.called, found.asked = self.called, self.asked
        return found


@pytest.mark.parametrize("steps", [10, 30])
def test_the_radius_shrinks_and_only_the_ball_that_counts_is_judged(steps: int) -> None:
    net, images, masks = linear_case()
    objective = Records(net, masks, whole(images))
    objective.called, objective.asked = [], []
    found = ReducedRadiusAPGD(steps)(objective, images, EPS, seeded())
    radii = torch.tensor(objective.called) / EPS
    bounds = [0.0] + [2.0] * (steps * 3 // 10 + 2) + [1.5] * (steps * 3 // 10 + 2) + [1.0] * (steps * 4 // 10 + 1)
    assert len(radii) == len(bounds)
    assert (radii <= torch.tensor(bounds) + 1e-5).all()
    assert radii.max() > 1.9
    assert max(objective.asked) <= EPS * (1 + 1e-6)
    assert len(found.trace) == steps - 3  # the last of a stage is judged without a gradient
    assert set(found.queries.tolist()) == {len(radii)}
    with pytest.raises(ValueError, match="some a stage"):
        ReducedRadiusAPGD(9)


def test_sea_reaches_the_linear_worst_case_and_beats_each_of_its_losses() -> None:
    net, images, masks = linear_case()
    objective = SegmentationObjective(net, masks, whole(images))
    found = objective.attack(sea(20), EPS, seeded())
    assert torch.equal(objective.right(objective.logits(found.images)), net.worst(images, masks, EPS))
    torch.manual_seed(0)
    deep = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))
    images = torch.rand(2, 3, 9, 9, generator=seeded(5))
    masks = deep(images).argmax(1)
    objective = SegmentationObjective(deep, masks, whole(images))
    attack = sea(10)
    assert [member.loss.name for member in attack.attacks] == [
        "masked_cross_entropy",
        "segpgd",
        "jensen_shannon",
        "masked_spherical",
    ]
    generator = seeded()  # each member goes on where the one before left it
    each = [objective.attack(member, EPS, generator) for member in attack.attacks]
    worst = objective.attack(attack, EPS, seeded())
    with torch.no_grad():
        rights = torch.stack([objective.right(objective.logits(one.images)) for one in each])
        assert torch.equal(objective.right(objective.logits(worst.images)), rights.amin(0))
        assert (rights.amin(0) < objective.right(objective.logits(images))).all()


# ------------------------------------------------------------------------------------------------ figures


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[SegmentationTask, list, dict[str, list]]:
    data = mask_data(write_set(tmp_path_factory.mktemp("data") / "set"))
    data.prepare_data()
    data.setup("validate")
    task = segmentation_task(Oracle).eval()
    batches = list(data.val_dataloader())
    attacks = {"segpgd": PixelAttack(PGD(3), SegPGDLoss()), "cospgd": PixelAttack(PGD(1), CosPGDLoss())}
    attacked = {
        name: list(attacked_segmentation(task, batches, attack, EPS, seeded())) for name, attack in attacks.items()
    }
    return task, batches, attacked


def test_attacked_batches_score_lower_and_share_all_but_images(evaluated: tuple) -> None:
    task, batches, attacked = evaluated
    clean = segmentation_figures(score_segmentation(task, batches), len(CLASSES))
    for batches_of_attack in attacked.values():
        found = segmentation_figures(score_segmentation(task, batches_of_attack), len(CLASSES))
        assert all(found[name] < clean[name] for name in clean)
        for before, after in zip(batches, batches_of_attack, strict=True):
            assert after.targets is before.targets
            assert after.masks is before.masks
            assert 0 < float((after.images - before.images).abs().max()) <= EPS * (1 + 1e-6)


def test_figures_are_those_of_plain_loops(evaluated: tuple) -> None:
    task, batches, _ = evaluated
    matrices = []
    with torch.no_grad():
        for batch in batches:
            for image in task.predict_step(batch, 0)["segmentations"]:
                matrices += [confusion(image.classes, image.target.mask.numpy(), len(CLASSES))]

    def miou(matrix: np.ndarray) -> float:
        values = []
        for k in range(len(CLASSES)):
            union = matrix[k].sum() + matrix[:, k].sum() - matrix[k, k]
            if union:
                values.append(matrix[k, k] / union)
        return sum(values) / len(values)

    total = sum(matrices)
    found = segmentation_figures(score_segmentation(task, batches), len(CLASSES))
    judged = [matrix for matrix in matrices if matrix.sum()]
    assert len(judged) == len(matrices) - 1, "one picture is void all over"
    assert found["miou"] == pytest.approx(miou(total))
    assert found["pixel_accuracy"] == pytest.approx(np.trace(total) / total.sum())
    assert found["image_miou"] == pytest.approx(sum(map(miou, judged)) / len(judged))


def test_worst_pictures_are_the_least_of_all_attacks(evaluated: tuple) -> None:
    task, batches, attacked = evaluated
    scores = {"clean": score_segmentation(task, batches)}
    scores |= {name: score_segmentation(task, found) for name, found in attacked.items()}
    worst, by = worst_pictures(scores, len(CLASSES))
    for i, (picture, name) in enumerate(zip(worst, by, strict=True)):
        values = [image_miou(pictures[i], len(CLASSES)) for pictures in scores.values()]
        assert picture is scores[name][i]
        assert math.isnan(values[0]) or image_miou(picture, len(CLASSES)) == min(values)
    figure = segmentation_figures(worst, len(CLASSES))["image_miou"]
    assert figure <= min(segmentation_figures(p, len(CLASSES))["image_miou"] for p in scores.values())
    with pytest.raises(ValueError, match="same pictures in the same order"):
        worst_pictures({"a": scores["clean"], "b": scores["clean"][::-1]}, len(CLASSES))
    with pytest.raises(ValueError, match="same pictures"):
        worst_pictures({}, len(CLASSES))


def test_an_attack_keeps_the_tasks_mode_and_gradients(evaluated: tuple, tmp_path: Path) -> None:
    _, batches, _ = evaluated
    task = segmentation_task().eval()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    next(attacked_segmentation(task, batches, PixelAttack(PGD(2), MaskedSpherical()), EPS, seeded()))
    assert not task.training
    assert all(parameter.grad is None for parameter in task.parameters())
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
