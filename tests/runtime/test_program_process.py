"""Fresh processes: other processors than this one, and caches that are not theirs or cannot be written."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from graphs import GEOMETRY, floats, node, open_graph, pack_weight, signs
from program_cases import needs_kernels

from bnn_tasks.runtime import jit
from bnn_tasks.runtime.format import Graph

pytestmark = [
    needs_kernels,
    pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the processors named here are x86's"),
]

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 300  # of a process: a first one compiles
RUN = """
import sys
import numpy as np
from bnn_tasks.runtime import Session
from bnn_tasks.runtime.simd.target import vector_bytes
session = Session(sys.argv[1], threads=1)
given = np.load(sys.argv[2])
values = session.values(given["x"])
sums = {f"{name}.sums": session.accumulate(name, values[bits]) for name, bits in (("c0", "b0"), ("c1", "b1"))}
np.savez(sys.argv[3], vector_bytes=vector_bytes(), **values, **sums)
"""


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """All three kinds of convolution, a finishing pass, and channels that are no multiple of anything."""
    rng = np.random.default_rng(0)
    conv = {"channels": 64, "kernel": [3, 3], **GEOMETRY, "pad_value": 0}
    nodes = (
        node("stem", "conv2d", "images", {**GEOMETRY, "stride": [2, 2]}, weight="k", bias="a"),
        node("b0", "sign", "stem", {"groups": 1}, threshold="a"),
        node("c0", "binary_conv2d", "b0", conv, weight="w0", scale="a"),
        node("n0", "scale_shift", "c0", scale="a", shift="b"),
        node("s0", "add", "n0 stem"),
        node("p0", "prelu", "s0", slope="one"),
        node("b1", "sign", "p0", {"groups": 1}),
        node("c1", "binary_conv2d", "b1", {**conv, "pad_value": -1}, weight="w1"),
        node("pool", "max_pool2d", "c1", {"kernel": [2, 2], "stride": [2, 2], "padding": [0, 0], "dilation": [1, 1],
                                          "ceil_mode": False}),
        node("real", "binary_weight_conv2d", "pool", {**conv, "channels": 37}, weight="w2"),
        node("mean", "global_avg_pool", "real"),
    )  # fmt: skip
    tensors = {
        "k": floats(rng, 64, 3, 3, 3),
        "one": np.array([0.25], np.float32),
        "w0": pack_weight(signs(rng, 64, 64, 3, 3)),
        "w1": pack_weight(signs(rng, 37, 64, 3, 3)),
        "w2": pack_weight(signs(rng, 5, 37, 3, 3)),
        **{name: floats(rng, 64) for name in "ab"},
    }
    return open_graph(tmp_path_factory.mktemp("net"), Graph(nodes, "mean"), tensors)


@pytest.fixture(scope="module")
def native(net):
    x = np.random.default_rng(1).random((3, 18, 22), np.float32)
    values = net.values(x)
    sums = {f"{name}.sums": net.accumulate(name, values[bits]) for name, bits in (("c0", "b0"), ("c1", "b1"))}
    return values | sums


def compare(folder, net, native, root=ROOT, **environment):
    """Run the net in a process of its own: bits and sums are this process's, real values to 1e-6."""
    np.savez(folder / "x.npz", x=native["images"])
    done = subprocess.run(
        [sys.executable, "-c", RUN, net.path, folder / "x.npz", folder / "y.npz"],
        cwd=root,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    made = dict(np.load(folder / "y.npz"))
    width = int(made.pop("vector_bytes"))
    assert set(made) == set(native)
    for name, value in native.items():
        if value.dtype == np.float32:
            bound = 1e-6 * np.abs(value).max()
            np.testing.assert_allclose(made[name], value, rtol=1e-6, atol=bound, err_msg=name)
        else:
            np.testing.assert_array_equal(made[name], value, err_msg=name)
    return width, done.stderr


def test_a_cache_of_another_processor(tmp_path, net, native):
    """Two processors share a folder, this one's kernels there first: each reads its own, however often they take turns."""
    here = Path(jit.cache_folder())
    shutil.copytree(here, tmp_path / "cache" / here.name)
    mine = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    haswell = {**mine, "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}
    width, _ = compare(tmp_path, net, native, **haswell)
    assert width == 32
    for environment in (mine, haswell):
        assert "compiling kernels" not in compare(tmp_path, net, native, **environment)[1]


def test_a_plain_processor_and_no_folder_for_a_cache(tmp_path, net, native):
    """16 bytes of vector, no instruction for a population count or a fused multiply-add; every kernel compiled anew.

    Nor are kernels kept beside the sources, where numba would not notice that another file, which they call, has changed.
    """
    package = tmp_path / "root" / "bnn_tasks"
    shutil.copytree(ROOT / "bnn_tasks", package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "file").write_text("in the way")
    blocked = str(tmp_path / "file")
    folders = {"NUMBA_CACHE_DIR": blocked, "XDG_CACHE_HOME": blocked, "HOME": blocked}
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    width, _ = compare(tmp_path, net, native, package.parent, **plain, **folders)
    assert width == 16
    assert (tmp_path / "file").read_text() == "in the way"
    assert [path.name for path in package.rglob("*.nbi")] == []
