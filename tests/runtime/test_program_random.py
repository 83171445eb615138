"""Random graphs: each value against its reference operation, and the same value whatever else is asked for."""

import numpy as np
import pytest
from graphs import floats
from program_cases import check_against_reference, needs_kernels, open_engine, random_graph, wanted_sets

from bnn_tasks.runtime.program import encode, fuse, layers
from bnn_tasks.runtime.simd import record as r

pytestmark = needs_kernels
SEEDS, EXACT_SEEDS = range(100), range(140)
PASSES = (
    "COUNTED COUNTED_INTEGERS SCALE SHIFT SCALE_SHIFT NORMALIZE CLIP_BELOW CLIP PRELU ADD_MAP ADD_SCALED_MAP MULTIPLY_MAP "
    "MULTIPLY_FACTOR WRITE PACK PACK_SUMS FINISH FINISH_ADD FINISH_ADD_PRELU FINISH_COUNTED_ADD FINISH_COUNTED_ADD_PRELU"
)


def open_random(monkeypatch, seed, exact, threads=1):
    """A random graph's engine and an image; every other graph takes the ways that only large maps take."""
    if seed % 2:
        monkeypatch.setattr(layers, "AT_ONCE_BYTES", 0, raising=False)
        monkeypatch.setattr(fuse, "POOLED_BYTES", 1)
        monkeypatch.setattr(encode, "ASIDE_BYTES", (1, 3000)[seed % 4 // 2])
    graph, tensors, size = random_graph(seed, exact)
    image = floats(np.random.default_rng(seed), *size, graph.channels)
    return open_engine(graph, tensors, threads), image


@pytest.mark.parametrize("seed", SEEDS)
def test_real_layers(monkeypatch, seed):
    """Sums of real values agree to 1e-5, all that follows from them bit for bit, whatever is asked for with it."""
    engine, image = open_random(monkeypatch, seed, exact=False)
    values = check_against_reference(engine, image)
    for wanted in wanted_sets(engine.graph, seed):
        for name, value in engine.run(image, wanted).items():
            np.testing.assert_array_equal(value, values[name], err_msg=f"`{name}` of {wanted}")


@pytest.mark.parametrize("seed", EXACT_SEEDS)
def test_what_follows_from_integers(monkeypatch, seed):
    """From end to end, bit for bit: the documented rounding steps and no others."""
    engine, image = open_random(monkeypatch, seed, exact=True)
    for wanted in wanted_sets(engine.graph, seed):
        expected = engine.run_by_node(image, wanted)
        for name, value in engine.run(image, wanted).items():
            np.testing.assert_array_equal(value, expected[name], err_msg=f"`{name}` of {wanted}")


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("threads", [2, 3])
def test_threads(monkeypatch, seed, threads):
    """Each thread computes what one would have computed."""
    exact = seed % 4 < 2
    one, image = open_random(monkeypatch, seed, exact)
    many, _ = open_random(monkeypatch, seed, exact, threads)
    for wanted in wanted_sets(one.graph, seed):
        expected = one.run(image, wanted)
        for name, value in many.run(image, wanted).items():
            np.testing.assert_array_equal(value, expected[name], err_msg=f"`{name}` of {wanted}")


def test_the_graphs_reach_every_step_and_pass(monkeypatch):
    """What is compiled but never met by these graphs would be untested."""
    kinds, passes = set(), set()
    for seed, exact in [(s, False) for s in SEEDS] + [(s, True) for s in EXACT_SEEDS]:
        with monkeypatch.context() as patch:
            engine, image = open_random(patch, seed, exact)
            for wanted in wanted_sets(engine.graph, seed):
                program = engine.executor.program(*image.shape[:2], engine.plan(*image.shape[:2]).kinds, wanted)
                for encoded in program.rows[1:]:
                    kinds.add((encoded.cells[r.KIND], encoded.inner is not None))
                    for each in (encoded, *filter(None, [encoded.inner])):
                        passes |= set(each.passes.bind(0)[:, 0].tolist())
    assert passes >= {getattr(r, name) for name in PASSES.split()}
    rows = {r.XNOR, r.FLOAT, r.SIGNED, r.DEPTHWISE, r.LOAD, r.MAX_POOL, r.AVG_POOL, r.GLOBAL_POOL, r.RESIZE, r.BIT_POOL}
    assert kinds == {(kind, False) for kind in rows} | {(r.MAX_POOL, True), (r.AVG_POOL, True)}
