"""Threads of a session, sessions of a thread, forks: always the same bits."""

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from graphs import floats, open_graph, tiny_detector, tiny_net, tiny_terms
from program_cases import needs_kernels, open_engine

from bnn_tasks.runtime import session as session_module
from bnn_tasks.runtime.program import threads as threads_module

pytestmark = needs_kernels
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
SECONDS = 60  # of a child


@pytest.fixture(autouse=True)
def three_cores(monkeypatch):
    """Threads may outnumber the machine's cores: slower, and nothing else."""
    monkeypatch.setattr(session_module, "cores", lambda: 3)


@pytest.fixture(params=[1, 2])
def net(request, tmp_path):
    return open_graph(tmp_path, *tiny_net(), threads=request.param)


def image_of(seed=0, size=(33, 35)):
    return np.random.default_rng(seed).random((1, 3, *size), np.float32)


def helpers():
    return {t for t in threading.enumerate() if t.name.startswith("bnn_tasks-")}


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize(("make", "sizes"), [
    (tiny_net, [(33, 35), (1, 1), (7, 150)]), (tiny_terms, [(16, 16)]), (tiny_detector, [(32, 48), (64, 96)])
])  # fmt: skip
def test_each_number_of_threads_gives_the_same_bits(make, sizes, threads):
    graph, tensors = make()
    one, many = open_engine(graph, tensors), open_engine(graph, tensors, threads)
    everything = ["images", *(value for n in graph.nodes for value in n.outputs)]
    for size in sizes:
        image = floats(np.random.default_rng(0), *size, 3)
        expected = one.run(image, everything)
        for _ in range(3):
            for name, value in many.run(image, everything).items():
                np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_two_sessions_in_two_threads(tmp_path):
    sessions = [open_graph(tmp_path, *tiny_net(), threads=2), open_graph(tmp_path, *tiny_terms())]
    inputs = [image_of(), image_of(1, (16, 16))]
    expected = [s.forward(x)["logits"] for s, x in zip(sessions, inputs, strict=True)]

    def work(k):
        for _ in range(20):
            np.testing.assert_array_equal(sessions[k].forward(inputs[k])["logits"], expected[k])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, (0, 1)))


def test_one_session_in_several_threads(net):
    """With sizes of their own, so that each call lays out the memory anew."""
    inputs = [image_of(k, size) for k, size in enumerate([(33, 35), (8, 9), (17, 40)])]
    expected = [net.forward(x)["maps"] for x in inputs]

    def work(k):
        for _ in range(15):
            for made, right in zip(net.forward(inputs[k])["maps"], expected[k], strict=True):
                np.testing.assert_array_equal(made, right)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))


def test_more_sizes_than_are_remembered_in_several_threads(tmp_path, monkeypatch):
    """Plans and programs come and go while others use them."""
    monkeypatch.setattr("bnn_tasks.runtime.engine.PLANS_KEPT", 2)
    monkeypatch.setattr("bnn_tasks.runtime.program.executor.PROGRAMS_KEPT", 2)
    net = open_graph(tmp_path, *tiny_net())
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            jobs = [pool.submit(net.forward, image_of(0, (4, 4 + k % 5))) for k in range(400)]
            assert all(job.result()["logits"].shape == (1, 5) for job in jobs)
    finally:
        sys.setswitchinterval(before)


def in_child(work, seconds: int = SECONDS) -> int:
    """Exit code of a forked child: 0 where `work` gave True, 1 otherwise; it is killed after a while."""
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)
        code = 2
        try:
            code = int(not work())
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_after_use(net):
    """Child, grandchild and parent go on."""
    x = image_of()
    expected = net.forward(x)["logits"]

    def right():
        return all(np.array_equal(net.forward(x)["logits"], expected) for _ in range(3))

    assert in_child(right) == 0
    assert in_child(lambda: right() and in_child(right) == 0) == 0
    assert right()


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_while_another_thread_runs(net):
    """Its lock, taken at that moment, is not waited for; nor are the helpers that did not come along."""
    x = image_of()
    expected = net.forward(x)["logits"]
    stop = threading.Event()

    def work():
        while not stop.is_set():
            np.testing.assert_array_equal(net.forward(x)["logits"], expected)

    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(work)
        try:
            codes = [in_child(lambda: np.array_equal(net.forward(x)["logits"], expected)) for _ in range(8)]
        finally:
            stop.set()
        busy.result()
    assert codes == [0] * 8


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_of_multiprocessing(net):
    global _worker_net
    _worker_net = net
    inputs = [image_of(k) for k in range(4)]
    expected = [net.forward(x)["logits"] for x in inputs]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        made = pool.map_async(_forward, inputs).get(SECONDS)
    np.testing.assert_array_equal(made, expected)


def _forward(x):
    return _worker_net.forward(x)["logits"]


def gone(threads) -> bool:
    """Whether threads end, within seconds."""
    deadline = time.monotonic() + 5
    while any(t.is_alive() for t in threads) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(t.is_alive() for t in threads)


def test_a_session_that_is_gone_leaves_no_threads(tmp_path):
    """At once: not when the garbage collector gets round to it."""
    before = helpers()
    gc.disable()
    try:
        session = open_graph(tmp_path, *tiny_net(), threads=3)
        session.forward(image_of())
        session.forward(image_of(0, (8, 8)))
        mine = helpers() - before
        assert len(mine) == 2
        del session
        assert gone(mine)
    finally:
        gc.enable()


def test_one_thread_starts_no_other(tmp_path):
    before = helpers()
    open_graph(tmp_path, *tiny_net()).forward(image_of())
    assert helpers() <= before


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_threads_that_cannot_start(tmp_path, monkeypatch):
    """An error; the next call gives an answer, and does not wait for a thread that is not there."""
    expected = open_graph(tmp_path, *tiny_net()).forward(image_of())["logits"]

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    def work():
        session = open_graph(tmp_path, *tiny_net(), threads=2)
        with monkeypatch.context() as patch:
            patch.setattr(threads_module.threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="can't start"):
                session.forward(image_of())
        return np.array_equal(session.forward(image_of())["logits"], expected)

    assert in_child(work, seconds=10) == 0  # in a child, which can be killed if it waits for ever


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_an_interrupt_when_helpers_have_begun(tmp_path, monkeypatch):
    """Ctrl-C where the caller has handed out the work and not begun its own share: later calls are right, or refuse."""
    x, y = image_of(), image_of(1)
    expected = open_graph(tmp_path, *tiny_net()).forward(y)["logits"]
    run_steps = threads_module.run_steps

    def interrupted(*arguments):
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        return run_steps(*arguments)

    def work():
        session = open_graph(tmp_path, *tiny_net(), threads=2)
        session.forward(x)
        with monkeypatch.context() as patch:
            patch.setattr(threads_module, "run_steps", interrupted)
            with pytest.raises(KeyboardInterrupt):
                session.forward(x)
        return all(np.array_equal(session.forward(y)["logits"], expected) for _ in range(3))

    assert in_child(work, seconds=10) == 0


def test_a_helper_that_fails_is_an_error_of_the_call(tmp_path, monkeypatch):
    """As where its thread cannot compile: the caller must not wait for it."""
    x = image_of()
    run_steps = threads_module.run_steps

    def failing(*arguments):
        if threading.current_thread() is not threading.main_thread():
            raise OSError("no space left on device")
        return run_steps(*arguments)

    def work():
        session = open_graph(tmp_path, *tiny_net(), threads=2)
        expected = session.forward(x)["logits"]
        with monkeypatch.context() as patch:
            patch.setattr(threads_module, "run_steps", failing)
            with pytest.raises(OSError, match="no space left"):
                session.forward(x)
        return np.array_equal(session.forward(x)["logits"], expected)

    assert in_child(work, seconds=10) == 0


def test_an_interrupt_while_helpers_start_leaves_none(tmp_path, monkeypatch):
    session = open_graph(tmp_path, *tiny_net(), threads=2)
    before = set(threading.enumerate())
    start = threading.Thread.start

    def interrupted(thread):
        start(thread)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                session.forward(image_of())
    deadline = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) == before
    assert np.isfinite(session.forward(image_of())["logits"]).all()
