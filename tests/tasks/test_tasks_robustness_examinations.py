"""Examinations of a study: each figure against a loop over images, each picture written."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import shake
from PIL import Image
from torch import Tensor, nn

from bnn_tasks.binary import BinaryConv2d
from bnn_tasks.callbacks.examination_pictures import draw_examined
from bnn_tasks.export import export
from bnn_tasks.robustness.attacks import MIFGSM
from bnn_tasks.robustness.attacks.unbroken import Unbroken
from bnn_tasks.robustness.corruptions import corrupt
from bnn_tasks.robustness.objective import CrossEntropyObjective
from bnn_tasks.robustness.weight_views import LatentWeights
from bnn_tasks.tasks.robustness import (
    ArtifactModel,
    CorruptedImages,
    Examination,
    FlippedBits,
    GradientCosines,
    LossSlices,
    SpectralNorms,
    TransferMatrix,
    Victim,
)
from bnn_tasks.tasks.robustness.chunks import Chunks
from bnn_tasks.tasks.robustness.subject import Subject

CLASSES = ["a", "b", "c", "d"]
X = (torch.rand(10, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 255).round() / 255


def net(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return shake(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
            BinaryConv2d(8, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 4),
        )
    )


class NetVictim(Victim):
    """A module in memory."""

    classes: list[str] = CLASSES

    def __init__(self, path: str, module: nn.Module, differentiable: bool = True) -> None:
        self.path, self.module, self.differentiable = path, module if differentiable else None, differentiable
        self.net = module

    def __call__(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)
        return logits


Y = net(0)(X).argmax(1)
Y[-2:] = (Y[-2:] + 1) % 4  # on these, the victim is wrong


def subject(differentiable: bool = True) -> Subject:
    return Subject(NetVictim("runs/victim/checkpoints/last.ckpt", net(0), differentiable), X, Y, Chunks(4), seed=3)


def test_the_transfer_matrix_is_what_each_net_says_of_each_others_images() -> None:
    others = [NetVictim("twin", net(1)), NetVictim("file", net(2), differentiable=False)]
    found = TransferMatrix(eps=100, steps=5).run(subject(), others)
    assert found is not None
    assert found.sources == ["runs/victim/checkpoints/last.ckpt", "twin"]
    for row, source in enumerate([net(0), net(1)]):
        for column, target in enumerate([net(0), net(1), net(2)]):
            right = 0
            for image, label in zip(X.split(1), Y.split(1)):
                objective = Unbroken(CrossEntropyObjective(source, label))
                made = MIFGSM(5)(objective, image, 100 / 255, torch.Generator()).images
                right += int(target(made).argmax() == label)
            assert found.accuracy[row][column] == pytest.approx(right / len(X))
    assert found.clean[0] == pytest.approx(0.8)
    assert found.accuracy[0][0] < found.clean[0]


def test_there_is_no_matrix_of_one_net() -> None:
    assert TransferMatrix().run(subject(), []) is None


def test_slices_have_the_images_own_loss_in_the_middle() -> None:
    one = subject()
    found = LossSlices(points=5, images=3).run(one, [])
    assert found is not None
    assert found.losses.shape == (3, 5, 5)
    expected = nn.functional.cross_entropy(net(0)(one.x[:3]), one.y[:3], reduction="none")
    torch.testing.assert_close(found.losses[:, 2, 2], expected.detach())
    assert LossSlices().run(subject(differentiable=False), []) is None


def test_corruptions_equal_a_loop() -> None:
    pytest.importorskip("imagecorruptions", reason="the extra `robust` is not installed")
    found = CorruptedImages(["contrast", "gaussian_noise"]).run(subject(), []).scores
    assert found.clean == pytest.approx(0.8)
    for severity in (1, 5):
        right = 0
        for image, label in zip(X, Y):
            pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
            made = torch.from_numpy(corrupt(pixels, "contrast", severity, 0)).permute(2, 0, 1)[None] / 255
            right += int(net(0)(made).argmax() == label)
        assert found.scores["contrast"][severity - 1] == pytest.approx(right / len(X))


def test_flipped_bits_run_on_the_runtime(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    export(net(0), path, example=X[:2])
    found = FlippedBits(path, random=(0, 576), searched=(0, 2), sample=5).run(subject(), [])
    negated = net(0)
    with torch.no_grad():
        negated[2].weight.neg_()
    for points, other in ((found.random[0], net(0)), (found.random[1], negated)):
        assert points.score == pytest.approx(float((other(X).argmax(1) == Y).float().mean()))
    assert [point.flipped for point in found.searched] == [0, 2]
    as_artifact = FlippedBits(path, random=(0,)).run(Subject(FileVictim(path), X, Y, Chunks(), 0), [])
    assert as_artifact.searched == []
    with pytest.raises(ValueError, match="export this net again"):
        FlippedBits(path, random=(0,)).run(Subject(NetVictim("other", net(7)), X, net(7)(X).argmax(1), Chunks(), 0), [])


def test_an_artifact_of_another_net_is_refused_before_the_attacks(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    export(net(0), path, example=X[:2])
    FlippedBits(path, random=(0,)).check(subject())
    other = Subject(NetVictim("other", net(7)), X, net(7)(X).argmax(1), Chunks(), 0)
    with pytest.raises(ValueError, match="export this net again"):
        FlippedBits(path, random=(0,)).check(other)
    export(net(0), path, example=X[:2], classes=["x", "y", "z", "w"])
    with pytest.raises(ValueError, match="Expected the artifact of"):
        FlippedBits(path, random=(0,)).check(subject())


def test_images_that_are_too_small_are_refused_before_the_attacks() -> None:
    pytest.importorskip("imagecorruptions", reason="the extra `robust` is not installed")
    small = Subject(NetVictim("net", net(0)), X[..., :16, :16], net(0)(X[..., :16, :16]).argmax(1), Chunks(), 0)
    with pytest.raises(ValueError, match="at least 32 pixels"):
        CorruptedImages(["fog"]).check(small)


def gradient(model: nn.Module, image: Tensor, label: Tensor) -> np.ndarray:
    x = image[None].clone().requires_grad_()
    nn.functional.cross_entropy(model(x), label[None]).backward()
    assert x.grad is not None
    return x.grad.flatten().double().numpy()


def test_gradient_cosines_image_by_image() -> None:
    one, twin = subject(), NetVictim("twin", net(1))
    found = GradientCosines((1, 16)).run(one, [twin, NetVictim("file", net(2), differentiable=False)])
    assert found is not None
    assert list(found.means) == [one.victim.path, "twin"]
    assert found.images == 4  # a chunk
    for model, means in zip([net(0), net(1)], found.means.values()):
        generator = torch.Generator().manual_seed(one.seed)
        for radius, mean in zip((1 / 255, 16 / 255), means):
            moved = one.x[:4] + radius * (2 * torch.rand(4, 3, 32, 32, generator=generator) - 1)
            cosines = []
            for image, other, label in zip(one.x, moved.clamp(0, 1), one.y):
                here, there = gradient(model, image, label), gradient(model, other, label)
                cosines.append(here @ there / np.linalg.norm(here) / np.linalg.norm(there))
            assert mean == pytest.approx(np.mean(cosines), abs=1e-4)
    assert GradientCosines().run(subject(differentiable=False), []) is None


def test_spectral_norms_of_victim_and_twin() -> None:
    one = subject()
    found = SpectralNorms(LatentWeights()).run(one, [NetVictim("twin", net(1))])
    assert found is not None
    assert list(found.norms) == [one.victim.path, "twin"]
    for model, norms in zip([net(0), net(1)], found.norms.values()):
        expected = {name: model.get_submodule(name).weight.detach().flatten(1) for name in ("0", "2", "6")}
        assert list(norms) == list(expected)
        for name, matrix in expected.items():
            assert norms[name] == pytest.approx(np.linalg.svd(matrix.numpy(), compute_uv=False)[0], rel=1e-3)
    assert SpectralNorms().run(subject(differentiable=False), []) is None


class FileVictim(Victim):
    """An artifact of a bare net, which has no class names."""

    differentiable, module, classes = False, None, CLASSES

    def __init__(self, path: Path) -> None:
        self.path, self.model = str(path), ArtifactModel(path)

    def __call__(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits


def test_every_answer_is_written_and_drawn(tmp_path: Path) -> None:
    pytest.importorskip("imagecorruptions", reason="the extra `robust` is not installed")
    path = tmp_path / "net.safetensors"
    export(net(0), path, example=X[:2])
    asked: list[Examination] = [
        TransferMatrix(steps=1),
        LossSlices(points=3, images=2),
        GradientCosines(),
        SpectralNorms(),
        CorruptedImages(["contrast"]),
        FlippedBits(path, random=(0, 5), searched=(0, 1)),
    ]
    for one in asked:
        found = one.run(subject(), [NetVictim("twin", net(1))])
        assert found is not None
        json.dumps(found.to_json(), allow_nan=False)
        draw_examined(found, tmp_path / f"{found.name}.png")
        assert np.asarray(Image.open(tmp_path / f"{found.name}.png")).std() > 0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda path: TransferMatrix(eps=0.03), "`eps` in units of 1/255, from 0.05 to 255"),
        (lambda path: TransferMatrix(eps=300), "`eps` in units of 1/255"),
        (lambda path: TransferMatrix(eps=1e6, norm="l2").check(subject()), "at most for 'l2'"),
        (lambda path: LossSlices(radius=256), "`radius` in units of 1/255"),
        (lambda path: LossSlices(points=4), "`points`"),
        (lambda path: LossSlices(images=0), "`images`"),
        (lambda path: GradientCosines(()), "`radii`"),
        (lambda path: GradientCosines((0, 1)), "`radii`"),
        (lambda path: GradientCosines((2, 1)), "`radii`"),
        (lambda path: CorruptedImages(["rain"]), "`corruptions`"),
        (lambda path: FlippedBits(path, random=(3, 2)), "`random`"),
        (lambda path: FlippedBits(path, sample=0), "`sample`"),
        (lambda path: FlippedBits(path, random=(0, 577)).run(subject(), []), "576"),
    ],
)
def test_bad_arguments(build: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    export(net(0), path, example=X[:2])
    with pytest.raises(ValueError, match=message):
        build(path)
