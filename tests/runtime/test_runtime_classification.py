"""A classifier's artifact: softmax, the session's answer, what the schema refuses, `run`, captions."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import floats, node, open_graph, run_nodes, tiny_detector
from PIL import Image

from bnn_tasks.runtime import ArtifactError, Classification, Session
from bnn_tasks.runtime.captions import captioned, picture_grid
from bnn_tasks.runtime.draw import PAGE
from bnn_tasks.runtime.format import Graph, save
from bnn_tasks.runtime.run import run_folder

CLASSES = ("cat", "dog", "newt")
RNG = np.random.default_rng(0)


def tiny_classifier(**changes: Any) -> tuple[Graph, dict[str, np.ndarray]]:
    """The mean colour, and a linear layer on it."""
    nodes = (
        node("pool", "global_avg_pool", "images"),
        node("flat", "flatten", "pool"),
        node("logits", "linear", "flat", weight="w", bias="b"),
        node("probabilities", "softmax", "logits"),
    )
    graph = Graph(
        nodes,
        "logits",
        classes=CLASSES,
        resize={"sizes": [[8, 12]], "rule": "stretch"},
        probabilities="probabilities",
    )
    rng = np.random.default_rng(0)
    return replace(graph, **changes), {"w": 4 * floats(rng, 3, 3), "b": floats(rng, 3)}


def image(seed: int, height: int = 8, width: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def expected(picture: np.ndarray, tensors: dict[str, np.ndarray]) -> np.ndarray:
    logits = tensors["w"].astype(np.float64) @ (picture.mean((0, 1)) / 255) + tensors["b"]
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def test_softmax_against_float64(tmp_path: Path) -> None:
    x = np.array([[[[3.0]], [[-100.0]], [[88.0]], [[1e4]], [[1e4 - 1]]]], np.float32)
    nodes = [node("pool", "global_avg_pool", "images"), node("flat", "flatten", "pool"), node("y", "softmax", "flat")]
    y = run_nodes(tmp_path, nodes, {}, x)
    powers = np.exp(x.ravel().astype(np.float64) - 1e4)
    np.testing.assert_allclose(y[0], powers / powers.sum(), rtol=1e-6, atol=1e-30)
    with pytest.raises(ValueError, match="logits to be numbers"):
        run_nodes(tmp_path, nodes, {}, np.full_like(x, np.nan))
    with pytest.raises(ArtifactError, match="Expected a vector as input"):
        run_nodes(tmp_path, [node("y", "softmax", "images")], {}, x)


def test_a_session_classifies(tmp_path: Path) -> None:
    graph, tensors = tiny_classifier()
    session = open_graph(tmp_path, graph, tensors)
    pictures = [image(seed) for seed in range(4)]
    found = session(pictures)
    for picture, result in zip(pictures, found, strict=True):
        assert isinstance(result, Classification)
        assert result.probabilities.dtype == np.float32
        np.testing.assert_allclose(result.probabilities, expected(picture, tensors), rtol=1e-4)
        assert result.label == result.probabilities.argmax()
        assert isinstance(result.label, int)
        assert result.top(2) == np.argsort(-result.probabilities)[:2].tolist()
        assert len(result.top(5)) == 3
    assert session.forward(np.zeros((2, 3, 8, 12), np.float32)).shape == (2, 3), "raw outputs: logits"
    session([image(0, 50, 20)])


def test_equal_classes_go_to_the_lower_label() -> None:
    result = Classification(np.array([0.2, 0.4, 0.4], np.float32))
    assert result.label == 1
    assert result.top(3) == [1, 2, 0]


def test_the_key_is_there_for_classifiers_alone() -> None:
    graph, _ = tiny_classifier()
    assert graph.to_dict()["probabilities"] == "probabilities"
    assert "probabilities" not in tiny_detector()[0].to_dict()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probabilities": "logits"}, "output of a softmax node"),
        ({"probabilities": "nothing"}, "output of a softmax node"),
        ({"probabilities": 3}, "`probabilities` to be a string"),
        ({"classes": ()}, "name the classes"),
        ({"classes": ("cat", "dog")}, "name the 3 classes"),
        ({"resize": None}, r"`resize` and 1 \(grey\) or 3 \(RGB\) input channels"),
        ({"detections": {"boxes": "a", "scores": "b", "labels": "c"}}, "nms node|it has both"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    graph, tensors = tiny_classifier(**changes)
    with pytest.raises(ArtifactError, match=message):
        open_graph(tmp_path, graph, tensors)


def test_run_writes_predictions_and_pictures(tmp_path: Path) -> None:
    graph, tensors = tiny_classifier()
    save(tmp_path / "net.safetensors", graph, tensors)
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for seed, name in enumerate(("a.png", "sub/b.png")):
        Image.fromarray(image(seed)).save(tmp_path / "in" / name)
    report = run_folder(tmp_path / "net.safetensors", [tmp_path / "in"], tmp_path / "out")
    assert (report.images, report.detections) == (2, None)
    assert "2 image(s), classified" in str(report)
    rows = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [row["file_name"] for row in rows] == ["a.png", "sub/b.png"]
    session = Session(tmp_path / "net.safetensors")
    for seed, row in enumerate(rows):
        (found,) = session([image(seed)])
        assert row["category"] == CLASSES[found.label]
        assert row["category_id"] == found.label + 1
        assert row["score"] == pytest.approx(float(found.probabilities[found.label]))
        assert [best["category"] for best in row["top5"]] == [CLASSES[k] for k in found.top(5)]
        assert row["top5"][0] == {"category": row["category"], "score": row["score"]}
    with Image.open(tmp_path / "out" / "a.png") as drawn:
        assert drawn.width % 12 == 0
        assert drawn.width >= 192
        factor = drawn.width // 12
        pixels = np.asarray(drawn.convert("RGB"))
    np.testing.assert_array_equal(pixels[: 8 * factor : factor, ::factor], image(0))
    assert (pixels[8 * factor :] != PAGE).any(), "the label below"


def test_a_caption_covers_nothing_and_fits() -> None:
    large = image(0, 200, 300)
    page = captioned(large, ["a name " * 40, "b"])
    np.testing.assert_array_equal(page[:200], large)
    assert page.shape[1] == 300
    assert (page[200:, :4] == PAGE).all()
    assert (page[200:, -4:] == PAGE).all()
    assert captioned(large, ["b"]).shape[0] < page.shape[0]
    with pytest.raises(ValueError, match="at least one line"):
        captioned(large, [])
    with pytest.raises(ValueError, match="uint8 RGB"):
        captioned(large[..., 0], ["b"])


def test_a_grid_holds_every_picture() -> None:
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    pictures = [np.full((10, 20, 3), colour, np.uint8) for colour in colours]
    sheet = picture_grid(pictures, columns=2, width=40)
    for colour in colours:
        assert (sheet == colour).all(-1).sum() == 40 * 20
    assert tuple(sheet[0, 0]) == PAGE
    for arguments in (([],), (pictures, 0), (pictures, 2, 8)):
        with pytest.raises(ValueError, match="Expected"):
            picture_grid(*arguments)
