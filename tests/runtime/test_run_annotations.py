"""`bnn-tasks run --annotations`: predictions.json with the ids of a COCO file, as pycocotools scores it."""

import json
import logging
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import tiny_detector
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from test_runtime_segmentation import a_graph

from bnn_tasks.cli import main
from bnn_tasks.runtime import Session, read_image
from bnn_tasks.runtime.format import save
from bnn_tasks.runtime.run import run_folder

CATEGORIES = {90: "class 0", 1: "other", 87: "class 1"}  # gaps, another order than the labels', one that the net lacks
IMAGES = {802: "a.png", 139: "sub/a.png", 7: "sub/ä.png"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "net.safetensors"
    save(path, *tiny_detector())
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in IMAGES.values():
        path = tmp_path / "in" / unicodedata.normalize("NFD", name)  # as macOS writes ä
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    return tmp_path / "in"


def content(images: dict[int, str], categories: dict[int, str], objects: list[dict] | None = None) -> dict[str, Any]:
    return {
        "info": {},
        "images": [{"id": id_, "file_name": name, "height": 40, "width": 50} for id_, name in images.items()],
        "categories": [{"id": id_, "name": name} for id_, name in categories.items()],
        "annotations": [
            {"id": number, "iscrowd": 0, "area": thing["bbox"][2] * thing["bbox"][3], **thing}
            for number, thing in enumerate(objects or [], 1)
        ],
    }


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content(IMAGES, CATEGORIES)))
    return path


def stats(truth: dict[str, Any], rows: list[dict]) -> np.ndarray:
    coco = COCO()
    coco.dataset = truth
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes(rows), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


def written(out: Path) -> list[dict]:
    return json.loads((out / "predictions.json").read_text())


def test_pycocotools_scores_it_as_boxes_mapped_by_hand(model: Path, pictures: Path, tmp_path: Path) -> None:
    session = Session(model)
    label_of = {"class 0": 1, "class 1": 2}
    rng = np.random.default_rng(1)
    by_hand, simple, own = [], [], []
    for number, (image_id, name) in enumerate(IMAGES.items(), 1):
        (found,) = session([read_image(pictures / unicodedata.normalize("NFD", name))])
        for (x0, y0, x1, y1), score, label in zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist()):
            box = [x0, y0, x1 - x0, y1 - y0]
            by_hand.append({"image_id": number, "category_id": label + 1, "bbox": box, "score": score})
            if rng.random() < 0.6:  # an object near the box, often of another class
                thing = {"bbox": (np.array(box) * rng.uniform(0.8, 1.2, 4)).tolist()}
                true = f"class {label if rng.random() < 0.7 else 1 - label}"
                simple.append({"image_id": number, "category_id": label_of[true], **thing})
                category = next(id_ for id_, other in CATEGORIES.items() if other == true)
                own.append({"image_id": image_id, "category_id": category, **thing})
    wanted = stats(content(dict(enumerate(IMAGES.values(), 1)), {1: "class 0", 2: "class 1"}, simple), by_hand)
    assert 0.05 < wanted[0] < 0.95
    path, out = tmp_path / "instances.json", tmp_path / "out"
    path.write_text(json.dumps(content(IMAGES, CATEGORIES, own)))
    main(["run", str(model), str(pictures), "--out", str(out), "--annotations", str(path)])
    np.testing.assert_allclose(stats(json.loads(path.read_text()), written(out)), wanted, rtol=1e-9)
    for row in written(out):
        assert CATEGORIES[row["category_id"]] == row["category"]
        assert IMAGES[row["image_id"]] == unicodedata.normalize("NFC", row["file_name"])


def test_without_it_pictures_and_labels_are_numbered(
    model: Path, pictures: Path, annotations: Path, tmp_path: Path
) -> None:
    run_folder(model, [pictures], tmp_path / "plain")
    run_folder(model, [pictures], tmp_path / "out", annotations=annotations)
    plain, mapped = written(tmp_path / "plain"), written(tmp_path / "out")
    names = sorted({row["file_name"] for row in plain})
    assert [(row["image_id"], row["category_id"]) for row in plain] == [
        (names.index(row["file_name"]) + 1, ["class 0", "class 1"].index(row["category"]) + 1) for row in plain
    ]
    ids = ("image_id", "category_id")
    without = [[{key: row[key] for key in row if key not in ids} for row in rows] for rows in (plain, mapped)]
    assert without[0] == without[1]


def test_pictures_that_the_file_lacks_are_left_out(
    model: Path, pictures: Path, annotations: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    annotations.write_text(json.dumps(content({139: "sub/a.png", 5: "gone.png"}, CATEGORIES)))
    with caplog.at_level(logging.WARNING, "bnn_tasks"):
        report = run_folder(model, [pictures], tmp_path / "out", annotations=annotations)
    assert report.images == 1
    assert {(row["image_id"], row["file_name"]) for row in written(tmp_path / "out")} == {(139, "sub/a.png")}
    left_out, absent = caplog.messages
    assert "2 picture(s) left out, not in it: 'a.png', 'sub/a\u0308.png'" in left_out
    assert "1 of its images are not among the pictures: 'gone.png'" in absent


def test_a_picture_that_the_file_lacks_is_not_drawn_over(model: Path, pictures: Path, annotations: Path) -> None:
    (pictures / "a.png").rename(pictures / "sub" / "b.jpg")
    before = (pictures / "sub" / "a.png").read_bytes()
    annotations.write_text(json.dumps(content({1: "b.jpg"}, CATEGORIES)))
    with pytest.raises(ValueError, match="Cure: another --out"):
        run_folder(model, [pictures / "sub"], pictures / "sub", annotations=annotations)
    assert (pictures / "sub" / "a.png").read_bytes() == before


def without_category(truth: dict[str, Any]) -> None:
    del truth["categories"][2]


def without_list(truth: dict[str, Any]) -> None:
    del truth["images"]


def renamed(truth: dict[str, Any]) -> None:
    truth["categories"][1]["name"] = "class 1"


def same_file(truth: dict[str, Any]) -> None:
    truth["images"][1]["file_name"] = "a.png"


def same_id(truth: dict[str, Any]) -> None:
    truth["images"][1]["id"] = 802


def id_as_text(truth: dict[str, Any]) -> None:
    truth["images"][1]["id"] = "139"


def other_pictures(truth: dict[str, Any]) -> None:
    truth["images"] = [{"id": 1, "file_name": "in/a.png"}]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_category, r"it lacks 'class 1'; it has 'class 0', 'other'"),
        (without_list, "no list 'images'"),
        (renamed, r"a text `name` of their own, but got `id` 87 and `name` 'class 1' at position 2"),
        (same_file, r"`file_name` 'a\.png' at position 1"),
        (same_id, "ids of their own"),
        (id_as_text, "an integer `id`.*'139'"),
        (other_pictures, r"none of 'a\.png'.*below the folder"),
    ],
)
def test_files_that_are_refused_before_the_run(
    spoil: Callable[[dict[str, Any]], None],
    message: str,
    model: Path,
    pictures: Path,
    annotations: Path,
    tmp_path: Path,
) -> None:
    truth = json.loads(annotations.read_text())
    spoil(truth)
    annotations.write_text(json.dumps(truth))
    with pytest.raises(ValueError, match=f"instances.json.*{message}.*Cure: "):
        run_folder(model, [pictures], tmp_path / "out", annotations=annotations)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", [None, "{", "[]", "[" * 100_000])
def test_no_coco_file(text: str | None, model: Path, pictures: Path, tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=r"Expected '.*instances\.json' to be a COCO file, but .*Cure: another file"):
        run_folder(model, [pictures], tmp_path / "out", annotations=path)


def test_one_image_from_two_folders(model: Path, pictures: Path, annotations: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"several for 'a\.png', 'a\.png'\. Cure: give only"):
        run_folder(model, [pictures, pictures / "a.png"], tmp_path / "out", annotations=annotations)


def test_it_is_for_detectors(pictures: Path, annotations: Path, tmp_path: Path) -> None:
    save(tmp_path / "segmenter.safetensors", *a_graph())
    with pytest.raises(ValueError, match=r"Expected a detector for --annotations, but .* is a segmenter"):
        run_folder(tmp_path / "segmenter.safetensors", [pictures], tmp_path / "out", annotations=annotations)
