"""A classifier through export: its probabilities, and what it needs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from nets import shake

from bnn_tasks.backbones import CifarResNet
from bnn_tasks.export import export
from bnn_tasks.models import Classifier
from bnn_tasks.runtime import Resize, Session

EXAMPLE = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
CLASSES = ["a", "b", "c"]


def classifier() -> torch.nn.Module:
    torch.manual_seed(0)
    return shake(Classifier(3, CifarResNet(8, width=4)))


def test_the_session_gives_the_models_probabilities(tmp_path: Path) -> None:
    net = classifier()
    report = export(
        net, tmp_path / "net.safetensors", example=EXAMPLE, classes=CLASSES, resize=Resize(((32, 32),), "letterbox")
    )
    assert report.parity.images == 2
    session = Session(tmp_path / "net.safetensors")
    assert session.nodes[-1].op == "softmax"
    images = [np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8) for seed in range(4)]
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        expected = net.decode(net(x)).numpy()
    close = 0
    for found, want in zip(session(images), expected, strict=True):
        close += bool(np.abs(found.probabilities - want).max() < 1e-4)
    assert close >= 3, "a rounding tie may differ"


@pytest.mark.parametrize("given", [{}, {"classes": CLASSES}, {"resize": Resize(((32, 32),))}])
def test_one_error_says_all_that_a_model_needs(given: dict, tmp_path: Path) -> None:
    message = (
        r"Expected `classes` to name the 3 classes of a Classifier, and `resize` to say.*Cure: .*classes=.*resize="
    )
    with pytest.raises(ValueError, match=message):
        export(classifier(), tmp_path / "net.safetensors", example=EXAMPLE, **given)
    assert list(tmp_path.iterdir()) == []


def test_names_for_every_class(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name the 3 classes"):
        export(
            classifier(),
            tmp_path / "net.safetensors",
            example=EXAMPLE,
            classes=CLASSES[:2],
            resize=Resize(((32, 32),), "letterbox"),
        )
    assert list(tmp_path.iterdir()) == []
