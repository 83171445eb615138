"""Hundreds of damaged and hostile files: each loads, or is refused by name."""

import itertools
from collections import Counter

import mutate
import pytest
from graphs import tiny_detector, tiny_net, tiny_terms

from bnn_tasks.runtime.format import save


@pytest.mark.parametrize("make", [tiny_net, tiny_detector, tiny_terms])
def test_mutants(tmp_path, make):
    save(tmp_path / "artifact", *make())
    data = (tmp_path / "artifact").read_bytes()
    results: Counter[str] = Counter()
    for _, mutant in itertools.islice(mutate.mutants(data, seed=0), 400):
        results[mutate.try_mutant(tmp_path / "mutant", mutant)] += 1
    assert results["refused"] > 200
    assert results["ran"] > 5
