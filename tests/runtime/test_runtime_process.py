"""What only a fresh process shows: no torch, kernels without a compiler, the disk cache."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numba
import numpy as np
import pytest
from graphs import open_graph, tiny_detector, tiny_net, tiny_terms

from bnn_tasks.runtime import jit

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import sys
import numpy as np
from bnn_tasks.runtime import Session
session = Session(sys.argv[1])
values = session.values(np.load(sys.argv[2]))
np.savez(sys.argv[3], **values)
assert not {"torch", "torchvision", "lightning"} & set(sys.modules)
"""


def run(code, *args, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_no_module_of_the_runtime_imports_torch():
    code = """
import importlib, pkgutil, sys
import bnn_tasks.runtime as package
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
print([name for name in sys.modules if name.split(".")[0] in ("torch", "torchvision", "lightning", "timm")])
"""
    assert run(code).stdout.strip() == "[]"


@pytest.mark.parametrize("make", [tiny_net, tiny_detector, tiny_terms])
def test_python_gives_what_the_compiler_gives(tmp_path, make):
    session = open_graph(tmp_path, *make())
    x = np.random.default_rng(0).random((3, 16, 16), np.float32)
    np.save(tmp_path / "x.npy", x)
    done = run(RUN, session.path, tmp_path / "x.npy", tmp_path / "y.npz", NUMBA_DISABLE_JIT="1")
    assert "Warning" not in done.stderr
    plain, compiled = np.load(tmp_path / "y.npz"), session.values(x)
    assert set(plain) == set(compiled)
    for name, value in compiled.items():
        np.testing.assert_allclose(plain[name], value, rtol=1e-4, atol=1e-5)


SUPPRESS = """
import numpy as np
from numba import config
from bnn_tasks.runtime.suppression import suppress
assert config.CACHE_DIR == {before!r}
boxes = np.array([[0, 0, 2, 2], [0, 0, 2, 1.5], [1, 1, 2, 2]], np.float32)
assert suppress(boxes, np.zeros(3, np.int64), 0.5, 3).tolist() == [0, 2]
"""


def test_cache_folder(tmp_path):
    """The first process compiles and says so, the second reads; numba's own setting is left as it was."""
    environment = {"XDG_CACHE_HOME": str(tmp_path), "NUMBA_CACHE_DIR": "", "NUMBA_DISABLE_JIT": "0"}
    first, second = (run(SUPPRESS.format(before=""), **environment) for _ in range(2))
    assert first.stderr.count("compiling kernels, once per machine") == 1
    assert str(tmp_path / "bnn_tasks") in first.stderr
    assert list((tmp_path / "bnn_tasks").rglob("*.nbc"))
    assert second.stderr == ""


def test_numba_cache_dir_wins(tmp_path):
    mine = str(tmp_path / "mine")
    run(SUPPRESS.format(before=mine), XDG_CACHE_HOME=str(tmp_path), NUMBA_CACHE_DIR=mine, NUMBA_DISABLE_JIT="0")
    assert list((tmp_path / "mine").rglob("*.nbc"))
    assert not (tmp_path / "bnn_tasks").exists()


def test_cache_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    blocked = str(tmp_path / "file")
    run(
        SUPPRESS.format(before=""),
        XDG_CACHE_HOME=blocked,
        HOME=blocked,
        NUMBA_CACHE_DIR="",
        PYTHONDONTWRITEBYTECODE="1",
    )


def test_kernels_work_where_numba_finds_no_folder_at_all(monkeypatch):
    njit = numba.njit

    def without_cache(cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(numba, "njit", without_cache)
    before = numba.config.CACHE_DIR
    half = jit.kernel()(_half)
    assert half(3.0) == 1.5
    assert before == numba.config.CACHE_DIR


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    if numba.config.DISABLE_JIT:
        pytest.skip("NUMBA_DISABLE_JIT is set: nothing is compiled")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    jit._complain.cache_clear()
    return tmp_path / "cache"


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: data[::-1]])
def test_damaged_cache_files_are_compiled_over(empty_cache, caplog, suffix, damage):
    assert jit.kernel()(_half)(3.0) == 1.5
    (path,) = empty_cache.rglob(f"*.{suffix}")
    path.write_bytes(damage(path.read_bytes()))
    assert jit.kernel()(_half)(3.0) == 1.5
    assert "cannot read compiled kernels" in caplog.text
    assert str(empty_cache) in caplog.text
    again = jit.kernel()(_half)
    assert again(3.0) == 1.5
    assert sum(again.stats.cache_hits.values()) == 1


def test_a_full_disk_costs_the_cache_only(empty_cache, monkeypatch, caplog):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", full)
    assert jit.kernel()(_half)(3.0) == 1.5
    assert "cannot write compiled kernels" in caplog.text


def test_without_a_home_the_cache_is_temporary(monkeypatch):
    def homeless(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert Path(tempfile.gettempdir()) in Path(jit.cache_folder()).parents


def _half(x):
    return x / 2
