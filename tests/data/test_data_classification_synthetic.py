import numpy as np
import pytest
from PIL import Image

from bnn_tasks.data import DataError, SyntheticClassificationData
from bnn_tasks.data.synthetic import SHAPES, generate_classes, scenes

SMALL = {"images": 15, "size": (32, 40)}


def files(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.png")}


def test_one_seed_is_the_same_set_of_classes(tmp_path):
    for name, options in (("a", {}), ("b", {}), ("c", {"seed": 1}), ("d", {"images": 20})):
        generate_classes(tmp_path / name, **{**SMALL, **options})
    a, b, c, d = (files(tmp_path / name) for name in "abcd")
    assert a == b
    assert a.keys() == c.keys()
    assert all(a[name] != c[name] for name in a)
    assert all(d[name] == content for name, content in a.items())
    assert len(d) == 20


@pytest.mark.parametrize("shape", SHAPES)
def test_a_portrait_shows_its_shape_whole(shape, monkeypatch):
    """With its colour and the background fixed, the shape's pixels do not touch the edge and have the size promised."""
    monkeypatch.setattr(scenes, "_background", lambda rng, height, width: np.zeros((height, width, 3), np.float32))
    monkeypatch.setattr(
        scenes, "paint", lambda rng, height, width, colours: np.full((height, width, 3), 255, np.float32)
    )
    monkeypatch.setattr(scenes, "_finish", lambda rng, canvas: Image.fromarray(canvas.astype(np.uint8)))
    places = []
    for seed in range(50):
        seen = np.asarray(scenes.portrait(np.random.default_rng(seed), 64, 80, shape))[..., 0]
        assert max(seen[0].max(), seen[-1].max(), seen[:, 0].max(), seen[:, -1].max()) < 128
        assert 0.05 < (seen > 127).mean() < 0.5
        places.append(np.argwhere(seen > 127).mean(0))
    assert np.std(places, 0).min() > 2


def test_the_module_draws_absent_classes_once(tmp_path):
    shapes = ["star", "cross"]
    data = SyntheticClassificationData(tmp_path / "set", images=20, shapes=shapes, batch_size=4, cache=True)
    assert data.class_names == shapes
    assert not (tmp_path / "set").exists()
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    assert [len(data.samples(split)) for split in ("train", "val", "test")] == [12, 4, 4]
    assert [sample.label for sample in data.samples("test")] == [0, 0, 1, 1]
    batch = next(iter(data.train_dataloader()))
    assert batch.images.shape == (4, 3, 32, 32)
    report = SyntheticClassificationData(tmp_path / "set", images=20, shapes=shapes).check()
    assert report.errors == report.warnings == []
    with pytest.raises(DataError, match="holds something else"):
        SyntheticClassificationData(tmp_path / "set", images=20).setup("fit")


def test_its_classes_can_be_told_apart(tmp_path):
    """A nearest-neighbour vote on edges beats chance, so there is something to learn, but not perfect, so not nothing."""
    data = SyntheticClassificationData(tmp_path / "set", images=600, batch_size=600, seed=3)
    sets = []
    for loader in (data.train_dataloader(), data.test_dataloader()):
        batch = next(iter(loader))
        grey = batch.images.mean(1).numpy()
        y, x = np.gradient(grey, axis=(1, 2))
        turn = (np.arctan2(y, x) % np.pi) / np.pi * 16
        weight = np.hypot(x, y)
        bins = [np.bincount(t.ravel().astype(int) % 16, w.ravel(), 16) for t, w in zip(turn, weight)]
        spectrum = np.abs(np.fft.rfft(bins, axis=1)) / np.sum(bins, 1, keepdims=True)  # does not see the turn
        sets.append((spectrum, batch.labels.numpy()))
    (train, labels), (test, truth) = sets
    nearest = np.argsort(((test[:, None] - train[None]) ** 2).sum(-1), 1)[:, :15]
    votes = np.array([np.bincount(labels[row], minlength=3).argmax() for row in nearest])
    assert 0.45 < (votes == truth).mean() < 0.99


@pytest.mark.parametrize(
    "options",
    [
        {"images": 14},
        {"size": (31, 64)},
        {"seed": -1},
        {"classes": ["cat"]},
        {"classes": []},
        {"classes": ["star"] * 2},
    ],
)
def test_bad_arguments_of_class_folders_are_named(tmp_path, options):
    with pytest.raises(ValueError, match=f"Expected `{next(iter(options))}`"):
        generate_classes(tmp_path / "set", **{**SMALL, **options})
