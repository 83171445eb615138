import subprocess
import sys

import numpy as np
import pytest

from bnn_tasks.data import DataError, SyntheticDetectionData
from bnn_tasks.data.synthetic import SHAPES, generate, scenes, writer
from bnn_tasks.data.synthetic.__main__ import main
from bnn_tasks.data.synthetic.shapes import mask, place

SMALL = {"images": 10, "size": (48, 64)}


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_one_seed_is_the_same_bytes(tmp_path):
    generate(tmp_path / "a", **SMALL)
    generate(tmp_path / "b", **SMALL)
    generate(tmp_path / "c", **SMALL, seed=1)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a")["JPEGImages/000003.jpg"] != contents(tmp_path / "c")["JPEGImages/000003.jpg"]


def test_a_larger_set_begins_with_the_smaller_one(tmp_path):
    generate(tmp_path / "a", **SMALL)
    generate(tmp_path / "b", images=15, size=(48, 64))
    small, large = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert all(large[name] == data for name, data in small.items() if name.startswith(("JPEGImages", "Annotations")))
    for split in ("train", "val", "test"):
        name = f"ImageSets/Main/{split}.txt"
        assert large[name].startswith(small[name])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("turn", [0.0, 0.4, 2.0])
def test_masks_have_the_polygons_area_and_extent(shape, turn):
    polygon = place(shape, (50.3, 40.8), 30.0, 1.2, turn)
    alpha, x0, y0 = mask(polygon)
    x, y = polygon.T
    shoelace = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    assert alpha.sum() / 255 == pytest.approx(shoelace, rel=0.03)
    rows, columns = np.nonzero(alpha > 127)
    extent = [x0 + columns.min(), y0 + rows.min(), x0 + columns.max() + 1, y0 + rows.max() + 1]
    np.testing.assert_allclose(extent, [*polygon.min(0), *polygon.max(0)], atol=1.5)


def test_an_alone_object_is_where_its_box_says(monkeypatch):
    """The same random numbers with and without the object differ inside the box alone."""
    monkeypatch.setattr(scenes, "MAX_OBJECTS", 1)
    for seed in range(20):
        with_object, objects = scenes.scene(np.random.default_rng(seed), 96, 128, ["circle", "star"])
        if not objects:
            continue
        with monkeypatch.context() as patch:
            patch.setattr(scenes, "LEAST_VISIBLE", 2.0)
            without, none = scenes.scene(np.random.default_rng(seed), 96, 128, ["circle", "star"])
        assert none == []
        grain = 8 * 3.5 * 2  # the noise differs: 3.5 of its largest standard deviation, on both
        y, x = np.nonzero((np.abs(np.asarray(with_object).astype(int) - np.asarray(without)) > grain).any(-1))
        x0, y0, x1, y1 = objects[0].box
        outside = (x < x0 - 1) | (x > x1) | (y < y0 - 1) | (y > y1)
        assert outside.mean() < 0.02


def test_scenes_are_varied():
    counts, difficult, names = [], 0, set()
    for seed in range(150):
        image, objects = scenes.scene(np.random.default_rng([0, seed]), 96, 128, sorted(SHAPES))
        assert image.size == (128, 96)
        counts.append(len(objects))
        for found in objects:
            x0, y0, x1, y1 = found.box
            assert 0 <= x0 < x1 <= 128
            assert 0 <= y0 < y1 <= 96
            difficult += found.difficult
            names.add(found.name)
    assert names == set(SHAPES)
    assert counts.count(0) >= 3
    assert max(counts) >= 5
    assert 5 <= difficult < 0.25 * sum(counts)


def test_the_module_draws_an_absent_set_once(tmp_path):
    data = SyntheticDetectionData(tmp_path / "set", [(48, 64)], images=10, image_size=(48, 64), batch_size=4)
    assert data.class_names == ["circle", "square", "triangle"]
    assert not (tmp_path / "set").exists()
    data.prepare_data()
    data.setup("fit")
    assert [len(data.records(split)) for split in ("train", "val", "test")] == [6, 2, 2]
    before = (tmp_path / "set" / "JPEGImages" / "000000.jpg").stat().st_mtime_ns
    again = SyntheticDetectionData(tmp_path / "set", [(48, 64)], images=10, image_size=(48, 64))
    assert len(list(again.val_dataloader())) == 1
    assert (tmp_path / "set" / "JPEGImages" / "000000.jpg").stat().st_mtime_ns == before


def test_another_set_in_the_folder_is_not_touched(tmp_path):
    generate(tmp_path / "a", **SMALL)
    with pytest.raises(DataError, match=r"holds something else.*delete it or choose another root"):
        generate(tmp_path / "a", **SMALL, seed=1)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("x")
    with pytest.raises(DataError, match="holds something else"):
        generate(tmp_path / "b", **SMALL)
    assert contents(tmp_path / "b") == {"mine.txt": b"x"}
    (tmp_path / "c").mkdir()
    generate(tmp_path / "c", **SMALL)


def test_an_interrupted_generation_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(writer, "scene", stop)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "set", **SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        {"images": 4},
        {"size": (31, 64)},
        {"size": (64,)},
        {"seed": -1},
        {"classes": ["cat"]},
        {"classes": []},
        {"classes": ["star"] * 2},
    ],
)
def test_bad_arguments_are_named(tmp_path, options):
    with pytest.raises(ValueError, match=f"Expected `{next(iter(options))}`"):
        generate(tmp_path / "set", **{**SMALL, **options})


def test_command_line(tmp_path, monkeypatch, capsys):
    arguments = ["generate", str(tmp_path / "set"), "--images", "5", "--seed", "3", "--size", "48", "64"]
    monkeypatch.setattr(sys, "argv", arguments)
    main()
    assert len(list((tmp_path / "set" / "Annotations").glob("*.xml"))) == 5
    monkeypatch.setattr(sys, "argv", [*arguments, "--images", "2"])
    with pytest.raises(SystemExit):
        main()
    assert "`images`" in capsys.readouterr().err


def test_it_runs_as_a_module():
    result = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-m", "bnn_tasks.data.synthetic", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "--images" in result.stdout
