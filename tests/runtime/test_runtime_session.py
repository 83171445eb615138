"""Sessions: sizes, batches, images, threads, memory."""

import pickle
import tracemalloc

import numba
import numpy as np
import pytest
from graphs import GEOMETRY, floats, node, open_graph, pack_weight, signs, tiny_detector, tiny_net

from bnn_tasks.runtime import Resize
from bnn_tasks.runtime.format import Graph


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return open_graph(tmp_path_factory.mktemp("detector"), *tiny_detector())


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return open_graph(tmp_path_factory.mktemp("net"), *tiny_net())


TENSORS = tiny_net()[1]


def test_forward_nests_and_stacks(net):
    x = np.random.default_rng(0).random((3, 3, 9, 14), np.float32)
    y = net.forward(x)
    assert list(y) == ["logits", "maps"]
    assert y["logits"].shape == (3, 5)
    assert [m.shape for m in y["maps"]] == [(3, 8, 5, 7)] * 2
    for i in range(3):
        np.testing.assert_array_equal(net.forward(x[i : i + 1])["logits"][0], y["logits"][i])
        np.testing.assert_array_equal(net.values(x[i])["sum"], y["maps"][0][i])


def test_forward_of_no_images(net):
    y = net.forward(np.zeros((0, 3, 9, 14), np.float32))
    assert y["logits"].shape == (0, 5)
    assert y["maps"][0].shape == (0, 8, 5, 7)


def test_forward_of_views(net):
    x = np.random.default_rng(0).random((2, 9, 14, 3), np.float32).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(net.forward(x)["logits"], net.forward(np.ascontiguousarray(x))["logits"])


def test_values_agree_with_one_another(net):
    values = net.values(np.random.default_rng(0).random((3, 8, 8), np.float32))
    assert set(values) == {"images", *(n.name for n in net.nodes)}
    assert values["sign"].dtype == np.int8
    np.testing.assert_array_equal(values["sign"] == 1, values["stem"] >= TENSORS["sign.t"][:, None, None])
    np.testing.assert_array_equal(values["sum"], values["act"] + values["stem"])
    acc = net.accumulate("conv2", values["conv1"])
    scale, bias = (TENSORS[name][:, None, None] for name in ("s2", "b2"))
    np.testing.assert_array_equal(values["conv2"], acc.astype(np.float32) * scale + bias)


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((1, 3, 8, 8)),
        np.zeros((3, 8, 8), np.float32),
        np.zeros((1, 4, 8, 8), np.float32),
        [[0.0]],
        np.zeros((1, 3, 8, 8), np.uint8),
    ],
)
def test_forward_refuses_other_arrays(net, x):
    with pytest.raises(ValueError, match=r"Expected `x` to be a float32 array of shape \(N, 3, H, W\), but got"):
        net.forward(x)


def test_too_small_names_the_smallest_size(tmp_path):
    attrs = {"stride": [2, 1], "padding": [0, 0], "dilation": [1, 2], "groups": 1}
    nodes = [
        node("a", "conv2d", "images", attrs, weight="w"),
        node("b", "conv2d", "a", attrs, weight="w"),
    ]
    session = open_graph(tmp_path, Graph(tuple(nodes), "b", channels=2), {"w": np.ones((2, 2, 3, 3), np.float32)})
    assert session.forward(np.zeros((1, 2, 7, 9), np.float32)).shape == (1, 2, 1, 1)
    for size in [(6, 9), (7, 8), (1, 1)]:
        with pytest.raises(ValueError, match=r"at least 7×9 px, but got .*node `[ab]`"):
            session.forward(np.zeros((1, 2, *size), np.float32))


@pytest.mark.parametrize("size", [(0, 8), (8, 8193)])
def test_sides_out_of_range(net, size):
    with pytest.raises(ValueError, match=r"sides in \[1, 8192\] px"):
        net.forward(np.zeros((1, 3, *size), np.float32))


def test_a_linear_head_that_fits_one_size_only(tmp_path):
    nodes = [node("flat", "flatten", "images"), node("y", "linear", "flat", weight="w")]
    session = open_graph(tmp_path, Graph(tuple(nodes), "y"), {"w": np.ones((2, 48), np.float32)})
    assert session.forward(np.ones((1, 3, 4, 4), np.float32)).tolist() == [[48.0, 48.0]]
    with pytest.raises(ValueError, match=r"node `y` \(linear\): Expected a vector of 48 values"):
        session.forward(np.ones((1, 3, 4, 5), np.float32))


def test_images_of_any_size(detector):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in [(32, 48), (1, 1), (300, 20), (41, 97)]]
    found = detector(images)
    assert len(found) == 4
    for image, each in zip(images, found, strict=True):
        height, width = image.shape[:2]
        assert len(each.boxes) == len(each.scores) == len(each.labels) == len(each) <= 20
        assert (each.boxes >= 0).all()
        assert (each.boxes <= [width, height, width, height]).all()
        assert (np.diff(each.scores) <= 0).all()
        assert set(each.labels) <= {0, 1}
    np.testing.assert_array_equal(detector(images[3:])[0].boxes, found[3].boxes)


def test_detections_are_those_of_the_values(detector):
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    canvas, placement = detector.resize.fit(image)
    values = detector.values((canvas.astype(np.float32) / np.float32(255)).transpose(2, 0, 1))
    np.testing.assert_array_equal(detector([image])[0].boxes, placement.to_image(values["found.boxes"]))
    assert detector.resize == Resize(((32, 48),), "letterbox")
    assert detector.classes == ("class 0", "class 1")


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        "a.jpg",
    ],
)
def test_images_of_another_kind(detector, image):
    with pytest.raises(ValueError, match="Expected image 1 to be HWC uint8 RGB"):
        detector([np.zeros((8, 8, 3), np.uint8), image])


def test_an_image_without_pixels(detector):
    with pytest.raises(ValueError, match="Expected image 0 to have pixels"):
        detector([np.zeros((0, 8, 3), np.uint8)])


def test_one_array_instead_of_a_sequence_of_images(detector):
    with pytest.raises(ValueError, match="Expected image 0 to be HWC uint8 RGB"):
        detector(np.zeros((8, 8, 3), np.uint8))


def test_calling_a_net_that_detects_nothing(net):
    with pytest.raises(ValueError, match="Expected a detector"):
        net([np.zeros((8, 8, 3), np.uint8)])


def test_threads(tmp_path):
    most = numba.config.NUMBA_NUM_THREADS
    x = np.random.default_rng(0).random((1, 3, 33, 35), np.float32)
    before = numba.get_num_threads()
    one = open_graph(tmp_path, *tiny_net())
    many = open_graph(tmp_path, *tiny_net(), threads=most)
    for session in (one, many, one):
        np.testing.assert_array_equal(session.forward(x)["logits"], one.forward(x)["logits"])
        assert numba.get_num_threads() == before
    for threads in (0, most + 1, 1.0, True):
        with pytest.raises(ValueError, match="Expected `threads`"):
            open_graph(tmp_path, *tiny_net(), threads=threads)


def test_threads_are_given_back_after_an_error(net):
    before = numba.get_num_threads()
    with pytest.raises(ValueError, match="NaN"):
        net.forward(np.full((1, 3, 8, 8), np.nan, np.float32))
    assert numba.get_num_threads() == before


def test_two_sessions_side_by_side(net, detector):
    x = np.random.default_rng(0).random((1, 3, 32, 48), np.float32)
    a, b = net.forward(x)["logits"], detector.forward(x)["logits"][0]
    np.testing.assert_array_equal(net.forward(x)["logits"], a)
    np.testing.assert_array_equal(detector.forward(x)["logits"][0], b)


def test_warm_up(net, detector):
    detector.warm_up()
    net.warm_up((8, 8))
    with pytest.raises(ValueError, match="Expected `size`"):
        net.warm_up()


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("stem", np.ones((8, 4, 4), np.int8), "Expected `node_name` to be one of"),
        ("nowhere", np.ones((8, 4, 4), np.int8), "Expected `node_name` to be one of"),
        ("conv1", np.ones((8, 4, 4), np.float32), "Expected `signs` to be int8"),
        ("conv1", np.ones((8, 4), np.int8), "Expected `signs` to be int8"),
        ("conv1", np.zeros((8, 4, 4), np.int8), "hold -1 and .1 only"),
        ("conv1", np.ones((7, 4, 4), np.int8), "node `conv1`"),
        ("head", np.ones(7, np.int8), "node `head`"),
    ],
)
def test_accumulate_refuses(net, name, given, message):
    with pytest.raises(ValueError, match=message):
        net.accumulate(name, given)


def test_peak_counts_what_is_alive_at_once(tmp_path):
    """A chain of equal maps needs two at a time, a residual one more, however long it is."""
    chain = [node("n0", "relu", "images")] + [node(f"n{i}", "relu", f"n{i - 1}") for i in range(1, 20)]
    resize = {"sizes": [[8, 8]], "rule": "stretch"}
    one = 4 * 3 * 8 * 8
    graph = Graph(tuple(chain), "n19", resize=resize)
    assert open_graph(tmp_path, graph, {}).peak_bytes == 2 * one
    residual = [*chain, node("sum", "add", "n19 n3")]
    assert open_graph(tmp_path, Graph(tuple(residual), "sum", resize=resize), {}).peak_bytes == 3 * one


def test_shared_weights_are_prepared_once(tmp_path):
    rng = np.random.default_rng(0)
    attrs = {"channels": 64, "kernel": [3, 3], **GEOMETRY, "pad_value": 0}
    nodes = [node("b0", "sign", "images", {"groups": 1})]
    for i in range(3):
        nodes.append(node(f"y{i}", "binary_conv2d", f"b{i}", attrs, weight="w"))
        nodes.append(node(f"b{i + 1}", "sign", f"y{i}", {"groups": 1}))
    graph = Graph(tuple(nodes), "y2", channels=64)
    session = open_graph(tmp_path, graph, {"w": pack_weight(signs(rng, 64, 64, 3, 3))})
    assert session.peak_bytes == 64 * 9 * 8 + 64 * 8  # one word a tap and output, and the epilogue's constants
    assert session.forward(floats(rng, 1, 64, 5, 5)).shape == (1, 64, 5, 5)


def test_images_may_come_from_an_iterator(detector):
    images = [np.full((20, 30, 3), 90, np.uint8)] * 2
    assert len(detector(iter(images))) == 2


def test_sizes_are_checked_before_anything_is_made(net):
    for size in ((10**7, 10**7), (32.5, 32), (True, 32)):
        with pytest.raises(ValueError, match="input sides"):
            net.plan(*size)
        with pytest.raises(ValueError, match="input sides"):
            net.warm_up(size)


def test_a_pickled_session_is_opened_anew(net):
    copy = pickle.loads(pickle.dumps(net))
    x = np.random.default_rng(0).random((1, 3, 9, 14), np.float32)
    np.testing.assert_array_equal(copy.forward(x)["logits"], net.forward(x)["logits"])


def test_windows_far_larger_than_the_map_take_no_memory(tmp_path):
    """2049 × 2049 pixels of padding around one pixel; nine taps, one of them inside."""
    attrs = {**GEOMETRY, "padding": [1024, 1024], "dilation": [1024, 1024]}
    weight = floats(np.random.default_rng(0), 2, 64, 3, 3)
    session = open_graph(
        tmp_path, Graph((node("y", "conv2d", "images", attrs, weight="w"),), "y", channels=64), {"w": weight}
    )
    x = floats(np.random.default_rng(1), 1, 64, 1, 1)
    tracemalloc.start()
    y = session.forward(x)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_allclose(y[0, :, 0, 0], weight[:, :, 1, 1] @ x[0, :, 0, 0], rtol=1e-4, atol=1e-4)
    assert peak < 1 << 25
