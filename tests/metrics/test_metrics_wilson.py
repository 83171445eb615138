"""Wilson's interval against its definition: the shares that a test of the same level does not refuse."""

import math

import numpy as np
import pytest

from bnn_tasks.metrics.wilson import Z95, wilson_interval


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (3, 10), (10, 10), (128, 256), (1, 1000)])
def test_ends_are_where_the_normal_test_turns(hits: int, count: int) -> None:
    shares = np.linspace(0, 1, 200_001)
    kept = shares[np.abs(hits / count - shares) <= Z95 * np.sqrt(shares * (1 - shares) / count) + 1e-12]
    low, high = wilson_interval(hits, count)
    assert low == pytest.approx(kept.min(), abs=1e-5)
    assert high == pytest.approx(kept.max(), abs=1e-5)


def test_it_holds_its_share_and_widens_with_z() -> None:
    for hits in range(21):
        low, high = wilson_interval(hits, 20)
        assert 0 <= low <= hits / 20 <= high <= 1
        assert low < high
    assert math.isclose(sum(wilson_interval(10, 20)), 1)
    assert wilson_interval(10, 20, 3.0)[1] > wilson_interval(10, 20)[1]


@pytest.mark.parametrize(("hits", "count"), [(-1, 5), (6, 5), (0, 0)])
def test_bad_input(hits: int, count: int) -> None:
    with pytest.raises(ValueError, match="hits"):
        wilson_interval(hits, count)
