"""Segmentation without torch: resizing and argmax against plain loops, fused and alone, and a session's pictures."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graphs import GEOMETRY, floats, node, open_graph
from PIL import Image

from bnn_tasks.runtime import ArtifactError, Resize, Segmentation, Session
from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.format import Graph
from bnn_tasks.runtime.kinds import FloatMap, Vector
from bnn_tasks.runtime.ops import OPS
from bnn_tasks.runtime.ops.base import Context
from bnn_tasks.runtime.resize import FILL, Placement
from bnn_tasks.runtime.run import run_folder
from bnn_tasks.runtime.segmentation import to_picture
from bnn_tasks.runtime.simd.softmax import add_softmax
from bnn_tasks.runtime.sliding import starts

SIZES = [
    ((3, 4), (12, 16)),
    ((5, 7), (13, 9)),
    ((1, 1), (6, 5)),
    ((9, 11), (9, 11)),
    ((20, 6), (7, 70)),
    ((2, 40), (150, 1)),
]
NOWHERE = Context(1, 1)


def bilinear(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w, C) resized pixel by pixel in float64, half-pixel centres."""
    out = np.empty((*size, x.shape[2]))
    for y, column in np.ndindex(size):
        at = []
        for place, side, count in ((y, x.shape[0], size[0]), (column, x.shape[1], size[1])):
            t = max(0.0, (place + 0.5) * side / count - 0.5)
            low = min(int(t), side - 1)
            at.append((low, min(low + 1, side - 1), t - low))
        (y0, y1, v), (x0, x1, u) = at
        upper, lower = (1 - u) * x[y0, x0] + u * x[y0, x1], (1 - u) * x[y1, x0] + u * x[y1, x1]
        out[y, column] = (1 - v) * upper + v * lower
    return out


def a_graph(
    classes: int = 11, size: tuple[int, int] = (24, 40), stride: int = 4
) -> tuple[Graph, dict[str, np.ndarray]]:
    """Logits of a strided convolution, resized to the input."""
    rng = np.random.default_rng(classes)
    nodes = (
        node("logits", "conv2d", "images", {**GEOMETRY, "stride": [stride, stride]}, weight="w", bias="b"),
        node("scores", "resize_bilinear", "logits images"),
        node("classes", "argmax", "scores"),
    )
    names, resize = tuple(f"c{k}" for k in range(classes)), Resize((size,), "stretch").to_dict()
    graph = Graph(nodes, "logits", classes=names, resize=resize, class_map="classes")
    return graph, {"w": floats(rng, classes, 3, 3, 3), "b": floats(rng, classes)}


def segmenter(
    folder: Path, classes: int = 11, size: tuple[int, int] = (24, 40), stride: int = 4, threads: int = 1
) -> Session:
    return open_graph(folder, *a_graph(classes, size, stride), threads)


@pytest.mark.parametrize(("source", "size"), SIZES)
@pytest.mark.parametrize("channels", [1, 11, 64, 72])
def test_resizing_follows_the_formula(tmp_path: Path, source: tuple, size: tuple, channels: int) -> None:
    """The kernel on a map of the graph, and the operation alone, which must agree bit for bit."""
    rng = np.random.default_rng(0)
    x, reference = floats(rng, channels, *source), floats(rng, 2, *size)
    stride = [-(-size[i] // source[i]) if size[i] > source[i] else 1 for i in (0, 1)]
    alone = OPS["resize_bilinear"].run([x.transpose(1, 2, 0), reference.transpose(1, 2, 0)], {}, {}, NOWHERE)[0]
    np.testing.assert_allclose(alone, bilinear(x.transpose(1, 2, 0).astype(np.float64), size), atol=2e-5)
    # In a graph: pooled to a smaller map, and resized to the larger one with a sum behind.
    large = floats(rng, channels, *size)
    pool = {"kernel": stride, "stride": stride, "padding": [0, 0], "ceil_mode": False}
    nodes = (
        node("small", "max_pool2d", "images", {**pool, "dilation": [1, 1]}),
        node("big", "resize_bilinear", "small images"),
        node("y", "add", "images big"),
    )
    session = open_graph(tmp_path, Graph(nodes, "y", channels=channels), {})
    values = session.values(large)
    small, big = (values[name].transpose(1, 2, 0) for name in ("small", "big"))
    np.testing.assert_array_equal(
        big, OPS["resize_bilinear"].run([small, large.transpose(1, 2, 0)], {}, {}, NOWHERE)[0]
    )
    np.testing.assert_array_equal(session.forward(large[None])[0], large + values["big"])


@pytest.mark.parametrize("classes", [1, 2, 11, 255])
@pytest.mark.parametrize("size", [(24, 40), (5, 7), (33, 130), (1, 1)])
def test_fused_classes_are_those_of_the_two_operations(tmp_path: Path, classes: int, size: tuple[int, int]) -> None:
    session = segmenter(tmp_path, classes, size, stride=min(4, *size))
    x = np.random.default_rng(1).random((3, *size), np.float32)
    values = session.values(x)
    expected = values["scores"].argmax(axis=0)
    np.testing.assert_array_equal(values["classes"], expected)
    np.testing.assert_array_equal(session.class_map(x), expected)


def test_threads_share_the_rows(tmp_path: Path) -> None:
    x = np.random.default_rng(1).random((3, 37, 40), np.float32)
    one, two = (segmenter(tmp_path, threads=threads).class_map(x) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_the_first_of_equal_maxima_wins() -> None:
    scores = np.zeros((2, 3, 5), np.float32)
    scores[0, 1, [2, 4]] = 1
    scores[1] = -np.inf
    expected = np.zeros((2, 3), np.uint8)
    expected[0, 1] = 2
    np.testing.assert_array_equal(OPS["argmax"].run([scores], {}, {}, NOWHERE)[0], expected)


def test_a_score_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    x = np.zeros((3, 24, 40), np.float32)
    x[0, 3, 3] = np.nan
    with pytest.raises(ValueError, match=r"net.safetensors: node `classes` \(argmax\): Expected scores to be numbers"):
        segmenter(tmp_path).class_map(x)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_map": "logits"}, "output of an argmax node"),
        ({"class_map": 7}, "printable characters"),
        ({"classes": ()}, "name the classes of `class_map`"),
        ({"classes": ("a", "b")}, "name the 11 classes of `classes`, but got 2"),
        ({"resize": None}, "`class_map` to have `resize`"),
        ({"outputs": "classes"}, "name float values"),
    ],
)
def test_graphs_that_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    graph, tensors = a_graph()
    with pytest.raises(ArtifactError, match=message):
        open_graph(tmp_path, replace(graph, **changes), tensors)


def test_a_class_map_has_the_inputs_size(tmp_path: Path) -> None:
    nodes = (
        node("logits", "conv2d", "images", {**GEOMETRY, "stride": [2, 2]}, weight="w"),
        node("classes", "argmax", "logits"),
    )
    resize = Resize(((8, 8),)).to_dict()
    graph = Graph(nodes, "logits", classes=("a", "b"), resize=resize, class_map="classes")
    with pytest.raises(ArtifactError, match="the input's size, 8×8, but got 4×4"):
        open_graph(tmp_path, graph, {"w": np.zeros((2, 3, 3, 3), np.float32)})


def test_more_classes_than_a_mask_has_values() -> None:
    with pytest.raises(GraphError, match="at most 255 classes"):
        OPS["argmax"].infer([FloatMap(256, 4, 4)], {}, {})
    with pytest.raises(GraphError, match="float map"):
        OPS["argmax"].infer([Vector(4)], {}, {})


@pytest.mark.parametrize("rule", ["stretch", "letterbox"])
@pytest.mark.parametrize("size", [(30, 50), (7, 90), (200, 64), (1, 1)])
def test_classes_at_the_pictures_pixels(rule: str, size: tuple[int, int]) -> None:
    canvas = np.random.default_rng(0).integers(0, 11, (24, 40)).astype(np.uint8)
    _, place = Resize(((24, 40),), rule).fit(np.zeros((*size, 3), np.uint8))
    found = to_picture(canvas, place, size)
    assert found.shape == size
    assert found.dtype == np.uint8
    for y, x in np.ndindex(size):
        at = place.to_canvas(np.array([[x + 0.5, y + 0.5, x + 0.5, y + 0.5]]))[0].astype(np.float64)
        near = {(int(at[1] + e), int(at[0] + f)) for e in (-1e-4, 1e-4) for f in (-1e-4, 1e-4)}
        values = {canvas[min(max(r, 0), 23), min(max(c, 0), 39)] for r, c in near}
        assert found[y, x] in values


def test_a_flipped_picture_and_an_empty_map() -> None:
    canvas = np.arange(6, dtype=np.uint8).reshape(2, 3)
    flipped = Placement(-1.0, 1.0, 3.0, 0.0, 3, 2)
    np.testing.assert_array_equal(to_picture(canvas, flipped, (2, 3)), canvas[:, ::-1])
    with pytest.raises(ValueError, match="with pixels"):
        to_picture(np.zeros((0, 3), np.uint8), flipped, (2, 3))


def test_a_call_resizes_there_and_back(tmp_path: Path) -> None:
    session = segmenter(tmp_path)
    image = np.random.default_rng(2).integers(0, 256, (50, 30, 3)).astype(np.uint8)
    (found,) = session([image])
    assert isinstance(found, Segmentation)
    canvas, place = Resize(((24, 40),), "stretch").fit(image)
    classes = session.class_map(canvas.transpose(2, 0, 1).astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(found.classes, to_picture(classes, place, (50, 30)))
    shares = found.shares(11)
    assert shares.sum() == pytest.approx(1)
    assert shares[3] == (found.classes == 3).mean()


@pytest.mark.parametrize(
    ("length", "side", "overlap"), [(100, 40, 0.25), (41, 40, 0.0), (40, 40, 0.5), (400, 7, 0.9), (12, 40, 0)]
)
def test_windows_cover_the_picture(length: int, side: int, overlap: float) -> None:
    found = starts(length, side, overlap)
    if length <= side:
        assert found == [-((side - length) // 2)]
        return
    assert found[0] == 0
    assert found[-1] == length - side
    gaps = np.diff(found)
    assert (gaps > 0).all()
    assert gaps.max() <= max(1, side * (1 - overlap))


@pytest.mark.parametrize("size", [(60, 90), (24, 90), (10, 90), (100, 20)])
@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_windows_average_probabilities(tmp_path: Path, size: tuple[int, int], overlap: float) -> None:
    session = segmenter(tmp_path, classes=4)
    image = np.random.default_rng(3).integers(0, 256, (*size, 3)).astype(np.uint8)
    found = session.segment_windows(image, overlap)
    total, count = np.zeros((*size, 4)), np.zeros(size)
    for y in starts(size[0], 24, overlap):
        for x in starts(size[1], 40, overlap):
            window = np.full((24, 40, 3), FILL, np.uint8)
            rows = [r for r in range(24) if 0 <= y + r < size[0]]
            columns = [c for c in range(40) if 0 <= x + c < size[1]]
            for r in rows:
                for c in columns:
                    window[r, c] = image[y + r, x + c]
            scores = session.values(window.transpose(2, 0, 1).astype(np.float32) / np.float32(255))["scores"]
            powers = np.exp(scores.astype(np.float64) - scores.max(axis=0))
            for r in rows:
                for c in columns:
                    total[y + r, x + c] += powers[:, r, c] / powers[:, r, c].sum()
                    count[y + r, x + c] += 1
    assert count.min() >= 1
    mean = total / count[..., None]
    best = np.sort(mean, axis=2)
    clear = best[..., -1] - best[..., -2] > 1e-5
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(found.classes[clear], mean.argmax(axis=2)[clear])


@pytest.mark.parametrize(
    ("size", "top", "left"), [((9, 11), 3, 2), ((9, 11), -4, -3), ((3, 4), -2, -1), ((6, 20), 1, 6)]
)
@pytest.mark.parametrize("classes", [1, 2, 21])
def test_probabilities_are_added_where_the_window_lies(
    size: tuple[int, int], top: int, left: int, classes: int
) -> None:
    """Against float64, over the whole range of the exponential and beyond."""
    rng = np.random.default_rng(5)
    scores = (rng.standard_normal((6, 8, classes)) * 10.0 ** rng.uniform(-3, 4, (6, 8, 1))).astype(np.float32)
    start = rng.random((*size, classes), np.float32)
    total, expected = start.copy(), start.astype(np.float64)
    add_softmax(scores, total, top, left)
    for y in range(6):
        for x in range(8):
            if 0 <= top + y < size[0] and 0 <= left + x < size[1]:
                powers = np.exp(scores[y, x].astype(np.float64) - scores[y, x].max())
                expected[top + y, left + x] += powers / powers.sum()
    np.testing.assert_allclose(total, expected, rtol=1e-6)


def test_small_probabilities_keep_their_digits() -> None:
    """Within a few units in the last place down to e^-87, where float32 begins to lose digits."""
    below = np.linspace(-86.9, 0, 4001, dtype=np.float32)
    scores = np.stack([below, np.zeros_like(below)], axis=-1)[None]
    total = np.zeros_like(scores)
    add_softmax(scores, total, 0, 0)
    powers = np.exp(below.astype(np.float64))
    np.testing.assert_allclose(total[0, :, 0], powers / (1 + powers), rtol=4 * 2**-23)


@pytest.mark.parametrize("size", [(24, 40), (10, 13)])
def test_one_window_gives_the_plain_result(tmp_path: Path, size: tuple[int, int]) -> None:
    session = segmenter(tmp_path)
    image = np.random.default_rng(4).integers(0, 256, (*size, 3)).astype(np.uint8)
    np.testing.assert_array_equal(session.segment_windows(image).classes, session([image])[0].classes)


def test_what_windows_refuse(tmp_path: Path) -> None:
    session = segmenter(tmp_path)
    with pytest.raises(ValueError, match=r"`overlap` to be in \[0, 1\)"):
        session.segment_windows(np.zeros((50, 50, 3), np.uint8), 1.0)
    for overlap in (5.0, -0.1, float("nan")):  # of a picture that fits one window too
        with pytest.raises(ValueError, match=r"`overlap` to be in \[0, 1\)"):
            session.segment_windows(np.zeros((9, 9, 3), np.uint8), overlap)
    with pytest.raises(ValueError, match="HWC uint8"):
        session.segment_windows(np.zeros((50, 50), np.uint8))
    plain = open_graph(tmp_path, Graph((node("y", "relu", "images"),), "y"), {})
    with pytest.raises(ValueError, match="Expected a segmenter"):
        plain.segment_windows(np.zeros((50, 50, 3), np.uint8))
    with pytest.raises(ValueError, match="Expected a segmenter"):
        plain.class_map(np.zeros((3, 5, 5), np.float32))


def test_windows_of_scores_that_are_no_numbers_are_an_error(tmp_path: Path) -> None:
    """Three channels of 3e38, two of them against each other: infinity less infinity."""
    graph, tensors = a_graph(classes=2, stride=1)
    tensors["w"][:] = 3e38 * np.array([1, -1, 1], np.float32)[:, None, None]
    session = open_graph(tmp_path, graph, tensors)
    with pytest.raises(ValueError, match=r"net.safetensors: value `scores`: Expected scores to be finite"):
        session.segment_windows(np.full((50, 50, 3), 255, np.uint8))


def test_a_picture_that_is_too_large_for_windows_costs_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(segmenter(tmp_path, classes=4).path)
    for name, size in {"small": (30, 50), "tall": (300, 90), "wide": (90, 120)}.items():
        Image.fromarray(np.zeros((*size, 3), np.uint8)).save(tmp_path / f"{name}.png")
    monkeypatch.setattr("bnn_tasks.runtime.sliding.MAX_BYTES", 4 * 4 * 50 * 50)
    pictures = [tmp_path / f"{name}.png" for name in ("wide", "small", "tall")]
    report = run_folder(path, pictures, tmp_path / "out", window=0.25)
    assert report.images == 2
    assert "wide.png: Expected a picture whose rows' probabilities" in report.damaged[0]
    assert [one["file_name"] for one in json.loads((tmp_path / "out" / "predictions.json").read_text())] == [
        "small.png",
        "tall.png",
    ]
